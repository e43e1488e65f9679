"""The bars of ola-nano on questions about pictures and clips, and on what it could do before.

Shapes: N rows.
"""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM

from unisono.errors import DataError
from unisono.evaluation import Prediction, Score
from unisono.evaluation.tasks import Answers, Perplexity
from unisono.evaluation.tasks.perplexity import OlaModel
from unisono.hub import fetch_part, load_catalog
from unisono.manifests import ConversationRow, StreamedManifest, open_manifest
from unisono.models import OlaForConditionalGeneration
from unisono.picturebook.bars_report import Bar, Finding
from unisono.runtime import Assistant, load_assistant
from unisono.runtime.late_encoders import LateEncoders

SCENES = "scenes/test.jsonl"
SCENES_BY_OTHERS = "scenes/test_unseen_drawing.jsonl"
CLIPS = "clips/test.jsonl"
SILENT_CLIPS = "clips/test_sound_removed.jsonl"
UNSEEN_CLIPS = "clips/test_picture_removed.jsonl"
INSTRUCTIONS = "instructions/test.jsonl"
BY_PEOPLE = "instructions/test_human.jsonl"
OTHER_QUESTIONS = {
    "printed words, unseen fonts": "printed_words/test_unseen_fonts.jsonl",
    "printed words, unseen words": "printed_words/test_unseen_words.jsonl",
    "sound questions": "sounds/questions_test.jsonl",
}

PICTURES = Bar(0.70)
BOTH, ONE_REMOVED = Bar(0.60), Bar(0.40, at_least=False)
FORGOTTEN = Bar(0.02, at_least=False)

ORIGINAL = "smollm2-135m-instruct-q4_1"
"""The part of the catalog that ola-nano's language model was before any training here."""

_LONGEST_ANSWER = 16


class OlaNano:
    """The model whose bars are measured; loaded as each bar needs it, at its first use."""

    def __init__(self, name: str) -> None:
        """Remember a name of the catalog, or the folder of a model."""
        self.name = name

    @cached_property
    def assistant(self) -> Assistant:
        """As a user has it."""
        return load_assistant(self.name)

    @cached_property
    def hears_itself(self) -> Assistant:
        """Without a listener: words come through the connector."""
        return load_assistant(self.name, hearing="connector")

    @cached_property
    def in_torch(self) -> OlaModel:
        """All of it in float32, words through the connector as far as it hears at all."""
        config = self.assistant.reader.processor.config
        hears = config.speech_config is not None or config.sound_config is not None
        hearing: Any = "connector" if hears else None
        return in_torch(load_assistant(self.name, engine="torch", hearing=hearing))


def in_torch(assistant: Assistant) -> OlaModel:
    """The model behind an assistant on torch's engine, as one module."""
    reader = assistant.reader
    engine: Any = reader.engine
    encoders = reader.encoders
    with torch.device("meta"):  # its random weights are replaced at once
        model = OlaForConditionalGeneration(reader.processor.config)
    model.language_model = engine.model
    found = encoders.loaded if isinstance(encoders, LateEncoders) else encoders
    if found is not None:
        model.encoders = found
    return OlaModel(model.eval(), reader.processor)


def with_original(model: OlaModel) -> OlaModel:
    """The same processor around the language model as it was before any training.

    Raises:
        HubError: it cannot be had.
    """
    file = fetch_part(ORIGINAL) / load_catalog().part(ORIGINAL).files[0].name
    config = model.processor.config
    with torch.device("meta"):
        original = OlaForConditionalGeneration(config)
    original.encoders = model.model.encoders
    original.language_model = AutoModelForCausalLM.from_pretrained(
        file.parent, config=config.text_config, gguf_file=file.name, dtype=torch.float32
    )
    return OlaModel(original.eval(), model.processor)


def picture_questions(data: Path, model: Assistant) -> list[Finding]:
    """Questions about scenes that never trained, all together and of each kind."""
    return [
        *_by_kind(data, SCENES, model, PICTURES, "picture questions"),
        *_by_kind(data, SCENES_BY_OTHERS, model, None, "picture questions, unseen drawings"),
    ]


def other_questions(data: Path, model: Assistant) -> list[Finding]:
    """Questions for which there is no bar."""
    found: list[Finding] = []
    for what, split in OTHER_QUESTIONS.items():
        found += _by_kind(data, split, model, None, what)
    return found


def _by_kind(data: Path, split: str, model: Assistant, bar: Bar | None, what: str) -> list[Finding]:
    rows = conversation_rows(data / split)
    predictions = Answers(max_tokens=_LONGEST_ANSWER).predict(model, rows)
    kinds = sorted({str(row.fields.get("kind", "")) for row in rows})
    findings = [Finding("questions", f"{what}: exact match", split, _exact(predictions), bar)]
    if len(kinds) > 1:
        for kind in kinds:
            pairs = zip(rows, predictions, strict=True)
            own = [one for row, one in pairs if row.fields.get("kind") == kind]
            findings.append(Finding("questions", f"– {kind}", split, _exact(own)))
    return findings


def _exact(predictions: Sequence[Prediction]) -> Score:
    """A row that could not be asked is wrong too: of our own data, all can be."""
    score = Answers().score(predictions)["exact_match"]
    lost = len(predictions) - len(score)
    names = [*score.names, *(one.name for one in predictions if not one.counted)]
    return Score.of([*score.amounts.tolist(), *[0.0] * lost], names=names)


def video_questions(data: Path, model: Assistant) -> list[Finding]:
    """Questions that need picture and sound, with both, and with either removed."""
    return [
        _clips(data, CLIPS, model, "video questions that need both: exact match", BOTH),
        _clips(data, SILENT_CLIPS, model, "– without the sound", ONE_REMOVED),
        _clips(data, UNSEEN_CLIPS, model, "– without the picture", ONE_REMOVED),
    ]


def _clips(data: Path, split: str, model: Assistant, what: str, bar: Bar) -> Finding:
    rows = conversation_rows(data / split)
    needed = [row for row in rows if row.fields["needs"] == "both"]
    predictions = Answers(max_tokens=_LONGEST_ANSWER).predict(model, needed)
    return Finding("video", what, split, _exact(predictions), bar)


def text_ability(data: Path, trained: OlaModel, original: OlaModel) -> list[Finding]:
    """How much less likely answers became that the language model found likely before.

    Args:
        data: folder of all steps.
        trained: after all stages.
        original: before, with the same tokenizer.
    """
    note = (
        "NLL per token after training over that of the original language model, less 1; both in "
        "float32, in the trained model's form of prompt. Held out: templates, topics and words."
    )
    return [
        Finding(
            "text",
            "text ability: NLL on its own answers, relative change",
            INSTRUCTIONS,
            forgetting(conversation_rows(data / INSTRUCTIONS), trained, original),
            FORGOTTEN,
            note=note,
        ),
        Finding(
            "text",
            "– on answers written by people",
            BY_PEOPLE,
            forgetting(conversation_rows(data / BY_PEOPLE), trained, original),
        ),
    ]


def forgetting(rows: Sequence[ConversationRow], trained: OlaModel, original: OlaModel) -> Score:
    """NLL of the answers after training, relative to before, less 1: a ratio of sums."""
    after, before = answer_nll(rows, trained), answer_nll(rows, original)
    return Score.of(
        after[:, 0] - before[:, 0],
        weights=before[:, 0],
        names=[row.name for row in rows],
        higher_is_better=False,
    )


def answer_nll(rows: Sequence[ConversationRow], model: OlaModel) -> "np.ndarray[Any, Any]":
    """Of each row's answers the NLL in nats and the tokens, those that end them included: [N, 2].

    Raises:
        DataError: a row cannot be encoded.
    """
    predictions = Perplexity().predict(model, rows)
    for one in predictions:
        if one.error is not None:
            raise DataError(f"{one.name}: {one.error}")
    found = [(one.output["nll"], one.output["tokens"]) for one in predictions]
    return np.asarray(found, dtype=np.float64).reshape(len(rows), 2)


def conversation_rows(path: Path) -> list[ConversationRow]:
    """The rows of a manifest of conversations.

    Raises:
        DataError: the manifest cannot be read, or has rows of another kind.
    """
    manifest = open_manifest(path)
    if isinstance(manifest, StreamedManifest):
        raise DataError(f"'{path}' must be a JSONL manifest")
    rows = [manifest[index] for index in range(len(manifest))]
    talks = [row for row in rows if isinstance(row, ConversationRow)]
    if len(talks) != len(rows):
        raise DataError(f"'{path}' must have conversations only")
    return talks
