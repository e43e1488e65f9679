"""Does the listener understand people, and is a question asked by voice answered like a typed one?

    python benchmarks/listening.py [--json-out docs/results/listening.json] [--examples 20]

Part 1: word error rate of ola-nano's listener on English recordings of people, never seen in
any training of ours: the prompts of Asterisk (sentences and short phrases of one speaker,
G.722 telephone sound) and the spoken captions of Tux Paint stamps (one or two words each).
Texts and transcripts pass Whisper's English normaliser. Intervals: bootstrap over recordings.

Part 2: the 20 spoken questions of examples/questions against the same questions typed: an
answer counts when it holds the keyed fact, or is the same text after normalising.
"""

import argparse
import gzip
import json
import random
import re
import sys
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import jiwer
import numpy as np
from report import hardware, publish
from rich.progress import track
from whisper_normalizer.english import EnglishTextNormalizer

import unisono
from unisono.hub import deb_files, fetch_part
from unisono.media import load_audio
from unisono.speech import Listener

QUESTIONS = Path(__file__).parent.parent / "examples" / "questions"
SENTENCE_WORDS = 3
LANGUAGE = "en"
"""What ola-nano tells its listener to expect."""
normalise = EnglishTextNormalizer()


@dataclass
class Recording:
    """A recording of a person, what was read, and what was heard."""

    source: str
    name: str
    said: str
    sound: bytes
    heard: str = ""

    @property
    def errors_and_words(self) -> tuple[int, int]:
        counts = jiwer.process_words(normalise(self.said), normalise(self.heard))
        errors = counts.substitutions + counts.deletions + counts.insertions
        return errors, counts.hits + counts.substitutions + counts.deletions


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--examples", type=int, default=20)
    parser.add_argument("--limit", type=int, help="recordings of each source")
    parser.add_argument("--json-out", type=Path)
    arguments = parser.parse_args()
    assistant = unisono.load("ola-nano")
    recordings = asterisk_prompts()[: arguments.limit] + stamp_captions()[: arguments.limit]
    listen(assistant.listener, recordings)
    result = {
        "benchmark": "listening",
        "hardware": hardware(),
        "word_error_rate": {name: score(group) for name, group in groups(recordings).items()},
        "spoken_questions": ask_twice(assistant),
    }
    show(result, recordings, arguments.examples)
    publish(result, arguments.json_out)


def asterisk_prompts() -> list[Recording]:
    """The prompts that are speech: a line in brackets describes a sound."""
    folder = fetch_part("asterisk-core-sounds-en-g722")
    texts: dict[str, str] = {}
    with gzip.open(folder / "core-sounds-en.txt.gz", "rt", encoding="utf-8") as lines:
        for line in lines:
            name, colon, text = line.strip().partition(": ")
            if colon and not name.startswith(";") and not re.search(r"[\[\]()]", text):
                texts[name] = text
    recordings = []
    with deb_files(next(folder.glob("*.deb"))) as archive:
        for member in archive:
            path = PurePosixPath(member.name)
            if member.isfile() and path.suffix == ".g722":
                name = str(path.with_suffix("")).split("en_US_f_Allison/")[-1]
                if normalise(texts.get(name, "")):
                    sound = archive.extractfile(member).read()
                    recordings.append(Recording("asterisk", name, texts[name], sound))
    return recordings


def stamp_captions() -> list[Recording]:
    """The English captions: `x_desc.ogg` reads the first line of `x.txt`."""
    texts: dict[str, str] = {}
    sounds: dict[str, bytes] = {}
    with deb_files(next(fetch_part("tuxpaint-stamps-default").glob("*.deb"))) as archive:
        for member in archive:
            if not member.isfile():
                continue
            if member.name.endswith("_desc.ogg"):
                sounds[member.name.removesuffix("_desc.ogg")] = archive.extractfile(member).read()
            elif member.name.endswith(".txt"):
                lines = archive.extractfile(member).read().decode("utf-8", "replace").splitlines()
                texts[member.name.removesuffix(".txt")] = lines[0] if lines else ""
    return [
        Recording("stamps", PurePosixPath(name).name, texts[name], sound)
        for name, sound in sorted(sounds.items())
        if normalise(texts.get(name, ""))
    ]


def listen(listener: Listener, recordings: list[Recording]) -> None:
    quiet = not sys.stderr.isatty()
    for recording in track(recordings, "listening", disable=quiet):
        source = recording.sound
        sound = load_g722(source) if recording.source == "asterisk" else load_audio(source)
        heard = listener.listen(sound, language=LANGUAGE, word_times=False)
        recording.heard = heard.text


def load_g722(data: bytes) -> np.ndarray:
    """Raw G.722 has no header to be known by: its name tells."""
    import tempfile

    with tempfile.NamedTemporaryFile(suffix=".g722") as file:
        file.write(data)
        file.flush()
        return load_audio(file.name)


def groups(recordings: list[Recording]) -> dict[str, list[Recording]]:
    def is_sentence(recording: Recording) -> bool:
        return len(normalise(recording.said).split()) >= SENTENCE_WORDS

    asterisk = [r for r in recordings if r.source == "asterisk"]
    return {
        f"asterisk, {SENTENCE_WORDS} words or more": [r for r in asterisk if is_sentence(r)],
        "asterisk, shorter": [r for r in asterisk if not is_sentence(r)],
        "stamp captions": [r for r in recordings if r.source == "stamps"],
        "all": recordings,
    }


def score(recordings: list[Recording]) -> dict[str, Any]:
    """Word error rate in percent, with a 95 % bootstrap interval over recordings."""
    counts = np.array([r.errors_and_words for r in recordings]).reshape(-1, 2)
    drawn = np.random.default_rng(0).integers(len(counts), size=(1000, len(counts)))
    errors, words = counts[drawn].sum(axis=1).T
    low, high = np.percentile(100 * errors / words, [2.5, 97.5])
    return {
        "recordings": len(recordings),
        "words": int(counts[:, 1].sum()),
        "wer_percent": round(100 * counts[:, 0].sum() / counts[:, 1].sum(), 2),
        "interval_95": [round(low, 2), round(high, 2)],
    }


def ask_twice(assistant: unisono.Assistant) -> dict[str, Any]:
    """Each question typed and spoken."""
    rows = []
    for line in (QUESTIONS / "questions.jsonl").read_text().splitlines():
        question = json.loads(line)
        typed = assistant.chat(question["text"])
        spoken = assistant.chat(audio=QUESTIONS / f"{question['id']}.ogg")
        same_text = normalise(typed.text) == normalise(spoken.text)
        same_fact = any(
            holds(typed.text, key) and holds(spoken.text, key) for key in question["key"]
        )
        rows.append(
            {
                "question": question["text"],
                "heard": spoken.heard[0],
                "typed": typed.text,
                "spoken": spoken.text,
                "same": same_text or same_fact,
                "same_text": same_text,
            }
        )
    return {"same": sum(row["same"] for row in rows), "of": len(rows), "rows": rows}


def holds(answer: str, key: str) -> bool:
    return re.search(rf"\b{re.escape(key)}", answer.lower()) is not None


def show(result: dict[str, Any], recordings: list[Recording], examples: int) -> None:
    print("word error rate on recordings of people", file=sys.stderr)
    for name, row in result["word_error_rate"].items():
        low, high = row["interval_95"]
        print(
            f"  {name:28}{row['wer_percent']:6.1f} %  [{low:.1f}, {high:.1f}]  "
            f"{row['recordings']} recordings, {row['words']} words",
            file=sys.stderr,
        )
    print(f"{examples} of them, drawn at random", file=sys.stderr)
    for recording in random.Random(0).sample(recordings, min(examples, len(recordings))):
        errors, _ = recording.errors_and_words
        print(
            f"  {errors or ' '} {recording.source}/{recording.name}\n"
            f"      said   {recording.said}\n      heard  {recording.heard}",
            file=sys.stderr,
        )
    questions = result["spoken_questions"]
    print(f"spoken = typed: {questions['same']} of {questions['of']}", file=sys.stderr)
    for row in questions["rows"]:
        print(
            f"  {'same' if row['same'] else 'DIFF'}  {row['heard']} -> {row['spoken']}",
            file=sys.stderr,
        )


if __name__ == "__main__":
    main()
