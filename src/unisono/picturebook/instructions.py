"""The step "instructions": text alone, so that a model that learns to see and hear goes on talking.

    train.jsonl        questions and requests, answered by the original language model itself
    test.jsonl         200 more, of templates, words and topics that never train
    test_human.jsonl   200 answered by people: trivia (ChatterBot corpus), definitions (WordNet)

The language model learns nothing from its own answers: they hold it where it was. Sampling them
takes a quarter of an hour and is not the same on every processor, so they were written once, by

    python -m unisono.picturebook.instructions src/unisono/picturebook/instructions.jsonl.gz

and the step unpacks them.
"""

import argparse
import gzip
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import yaml  # type: ignore[import-untyped]
from rich.console import Console
from rich.progress import track

from unisono.conversation import Message
from unisono.engines.gguf_file import TokenEmbeddings, load_tokenizer, prepare
from unisono.engines.llama_engine import LlamaEngine
from unisono.hub import default_cache_folder, fetch_part, load_catalog
from unisono.manifests import ConversationRow, write_manifest
from unisono.models import OlaConfig, OlaProcessor
from unisono.picturebook.instruction_prompts import (
    Asked,
    common_words,
    defined_nouns,
    held_out,
    prompts,
)
from unisono.picturebook.packages import package_files
from unisono.picturebook.step import Step, draws
from unisono.runtime.answer import Reader
from unisono.runtime.assistant import Assistant
from unisono.runtime.events import Finished
from unisono.runtime.load_catalog import shipped

ANSWERS = Path(__file__).parent / "instructions.jsonl.gz"
ORIGINAL = "ola-nano"
"""The model of the catalog whose language model answers, without its adapter."""

TRAIN_COUNT, TEST_COUNT = 1_200, 200
HUMAN_COUNTS = {"trivia": 120, "definition": 80}
MAX_TOKENS = 48
TEMPERATURE, TOP_P = 0.7, 0.9

_FEWEST_WORDS = 3
_DEFINE = ("What does the word {} mean?", "Define {}.", "How does a dictionary explain {}?")


@dataclass(frozen=True)
class Instruction:
    """A prompt with its answer.

    Attributes:
        split: of the step.
        kind: of question.
        template: the prompt was made from; "" if a person wrote it.
        prompt: what is asked.
        answer: to learn.
        ended: whether the answer is whole; else it was cut behind its last whole sentence.
    """

    split: Literal["train", "test", "test_human"]
    kind: str
    template: str
    prompt: str
    answer: str
    ended: bool = True


def build(folder: Path, data: Path) -> None:
    """Fill the step's folder: `train`, `test`, `test_human`.

    Raises:
        HubError: a package cannot be had.
    """
    del data
    every = [*read_answers(ANSWERS), *trivia(), *definitions()]
    for split in ("train", "test", "test_human"):
        rows = (_row(one) for one in every if one.split == split)
        write_manifest(rows, folder / f"{split}.jsonl")


STEP = Step("instructions", 1, (), build)


def _row(one: Instruction) -> ConversationRow:
    messages = (
        Message(role="user", content=one.prompt),
        Message(role="assistant", content=one.answer),
    )
    fields = {"kind": one.kind, "template": one.template, "ended": one.ended}
    return ConversationRow(one.prompt, messages, fields)


def read_answers(path: Path) -> list[Instruction]:
    """What `write_answers` wrote."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [Instruction(**json.loads(line)) for line in file]


def write_answers(answered: Iterable[Instruction], path: Path) -> None:
    """JSONL, compressed; equal instructions give equal bytes."""
    lines = (json.dumps(asdict(one), ensure_ascii=False) + "\n" for one in answered)
    path.write_bytes(gzip.compress("".join(lines).encode(), compresslevel=9, mtime=0))


def trivia(count: int = HUMAN_COUNTS["trivia"]) -> list[Instruction]:
    """Questions and short answers that people wrote.

    Raises:
        HubError: the package cannot be had.
    """
    (path,) = package_files("chatterbot-trivia")
    found = list(dict(_pairs(yaml.safe_load(path.read_text(encoding="utf-8")))).items())
    drawn = draws("instructions", "trivia").sample(found, min(count, len(found)))
    return [Instruction("test_human", "trivia", "", asked, answer) for asked, answer in drawn]


def _pairs(corpus: dict[str, list[list[object]]]) -> Iterator[tuple[str, str]]:
    for turns in corpus["conversations"]:
        if len(turns) == 2 and "?" in str(turns[0]):
            asked, answer = (" ".join(str(turn).split()) for turn in turns)
            yield asked, answer


def definitions(count: int = HUMAN_COUNTS["definition"]) -> list[Instruction]:
    """Words of the test, explained by the people who made WordNet.

    Raises:
        HubError: the package cannot be had.
    """
    draw = draws("instructions", "definitions")
    unseen = [(noun, text) for noun, text in defined_nouns().items() if held_out("noun", noun)]
    drawn = draw.sample(unseen, min(count, len(unseen)))
    made = []
    for noun, text in drawn:
        template = draw.choice(_DEFINE)
        answer = f"{text[0].upper()}{text[1:]}."
        made.append(
            Instruction("test_human", "definition", template, template.format(noun), answer)
        )
    return made


def answered(
    asked: Sequence[Asked], split: Literal["train", "test"], count: int, model: Assistant
) -> Iterator[Instruction]:
    """The model's own answers to the first prompts that it answers well enough to be kept.

    Answers of the test end by themselves: where a cut one would have gone on, nobody knows.

    Args:
        asked: more prompts than are wanted.
        split: of all of them.
        count: of answers.
        model: reads text.
    """
    made = 0
    for number, one in enumerate(asked):
        if made == count:
            return
        seed = draws("instructions", "seed", split, number).getrandbits(32)
        *_, finished = model.stream(
            one.text, max_new_tokens=MAX_TOKENS, temperature=TEMPERATURE, top_p=TOP_P, seed=seed
        )
        if not isinstance(finished, Finished):
            raise RuntimeError("a stream of events must end with Finished")
        ended = finished.reason == "stop"
        text = finished.text.strip() if ended else whole_sentences(finished.text)
        if len(text.split()) >= _FEWEST_WORDS and (ended or split == "train"):
            made += 1
            yield Instruction(split, one.kind, one.template, one.text, text, ended)


def whole_sentences(text: str) -> str:
    """A text that was cut off, without what stands behind its last whole sentence."""
    ends = [text.rfind(mark) for mark in (". ", "! ", "? ", ".\n", "!\n", "?\n")]
    return text[: max(ends) + 1].strip()


def original_model() -> Assistant:
    """The language model as it was before any training here, through llama.cpp.

    Raises:
        HubError: it cannot be had.
        ModelConfigError: llama.cpp cannot run here.
    """
    entry = load_catalog().model(ORIGINAL)
    part = load_catalog().part(entry.parts["language_model"])
    gguf = fetch_part(part.name) / part.files[0].name
    derived = default_cache_folder() / "derived" / part.files[0].sha256[:16]
    prepare(gguf, derived)
    with shipped(entry) as folder:
        processor = OlaProcessor(load_tokenizer(derived), OlaConfig.from_pretrained(folder))
    engine = LlamaEngine(gguf, TokenEmbeddings(gguf, derived), context_length=1024)
    return Assistant(Reader(processor, engine), name=part.name)


def generate(model: Assistant) -> Iterator[Instruction]:
    """All answers of `train` and `test`."""
    words = common_words()
    wanted: tuple[tuple[Literal["train", "test"], int], ...] = (
        ("test", TEST_COUNT),
        ("train", TRAIN_COUNT),
    )
    for split, count in wanted:
        asked = prompts(words, 2 * count, test=split == "test")
        yield from answered(asked, split, count, model)


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the answers anew, which takes about a quarter of an hour."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("path", type=Path, help="the compressed file")
    path = parser.parse_args(arguments).path
    console = Console(stderr=True)
    shown = track(
        generate(original_model()),
        "Answering",
        total=TRAIN_COUNT + TEST_COUNT,
        console=console,
        disable=not console.is_terminal,
    )
    write_answers(shown, path)
    print(f"{path}: {path.stat().st_size} bytes", file=sys.stderr)


if __name__ == "__main__":
    main()
