"""How soon after a spoken question does the answer begin, in text and in sound?

    python benchmarks/first_sound.py [--json-out docs/results/first_sound.json]

Three programs answer the same 20 spoken questions (examples/questions) with the same weights,
greedy, answers cut at 60 tokens, in turn, question by question:

whole     the script that people write: faster-whisper with its defaults, the whole answer with
          transformers' `generate`, then all of it synthesised with Piper.
streamer  the same with a text streamer: each sentence is synthesised when it is written.
unisono   `Assistant.stream`.

Each program lives in a process of its own, loaded and warmed before the first question, and
has the machine to itself while it answers. Prints a table to stderr and one JSON line to
stdout. Ratios are of one run; absolute times are of one machine.
"""

import argparse
import json
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

from report import hardware, publish

QUESTIONS = Path(__file__).parent.parent / "examples" / "questions"
MAX_NEW_TOKENS = 60
PROGRAMS = ("whole", "streamer", "unisono")
Timing = dict[str, Any]
"""`first_text_s`, `first_sound_s`, `total_s` from the question's end, and `text`."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=1, help="times each question is asked")
    parser.add_argument("--dtype", default="float32", help="of the weights in transformers")
    parser.add_argument("--json-out", type=Path)
    arguments = parser.parse_args()
    questions = sorted(QUESTIONS.glob("*.ogg")) * arguments.rounds
    workers = {name: Worker(name, arguments.dtype) for name in PROGRAMS}
    for worker in workers.values():
        worker.ask(questions[0])  # warms caches; not counted
    runs: dict[str, list[Timing]] = {name: [] for name in PROGRAMS}
    for index, question in enumerate(questions):
        for name in PROGRAMS[index % 3 :] + PROGRAMS[: index % 3]:  # nobody is always first
            runs[name].append(workers[name].ask(question))
        print(
            f"{question.stem}: "
            + ", ".join(f"{name} {runs[name][-1]['first_sound_s']:.2f} s" for name in PROGRAMS),
            file=sys.stderr,
        )
    for worker in workers.values():
        worker.close()
    result = {
        "benchmark": "first_sound",
        "hardware": hardware(),
        "dtype_of_transformers": arguments.dtype,
        "questions": len(questions),
        "seconds": {name: summary(timings) for name, timings in runs.items()},
        "times_earlier": {
            name: {what: ratio(runs[name], runs["unisono"], what) for what in STEPS}
            for name in ("whole", "streamer")
        },
        "answers": {name: [timing["text"] for timing in runs[name]] for name in PROGRAMS},
    }
    print_table(result)
    publish(result, arguments.json_out, lambda axes: draw(axes, runs))


STEPS = ("first_text_s", "first_sound_s", "total_s")


def summary(timings: list[Timing]) -> dict[str, dict[str, float]]:
    return {
        step: {
            "median": round(statistics.median(timing[step] for timing in timings), 3),
            "min": round(min(timing[step] for timing in timings), 3),
            "max": round(max(timing[step] for timing in timings), 3),
        }
        for step in STEPS
    }


def ratio(theirs: list[Timing], ours: list[Timing], step: str) -> dict[str, float]:
    """How many times earlier we are, question by question."""
    ratios = [a[step] / b[step] for a, b in zip(theirs, ours, strict=True)]
    return {
        "median": round(statistics.median(ratios), 2),
        "min": round(min(ratios), 2),
        "max": round(max(ratios), 2),
    }


def print_table(result: dict[str, Any]) -> None:
    print(f"\n{'':10}{'first text':>12}{'first sound':>13}{'all':>8}   (medians)", file=sys.stderr)
    for name, steps in result["seconds"].items():
        row = "".join(f"{steps[step]['median']:>11.2f} s" for step in STEPS)
        print(f"{name:10}{row}", file=sys.stderr)
    for name, steps in result["times_earlier"].items():
        print(
            f"first sound {steps['first_sound_s']['median']:.1f}x earlier than {name!r} "
            f"(worst question {steps['first_sound_s']['min']:.1f}x)",
            file=sys.stderr,
        )


def draw(axes: Any, runs: dict[str, list[Timing]]) -> None:
    """Per program: a bar from the question's end to the end, marks at first text and sound."""
    for row, name in enumerate(reversed(PROGRAMS)):
        middle = {step: statistics.median(t[step] for t in runs[name]) for step in STEPS}
        axes.barh(row, middle["total_s"], height=0.5, color="#d7dee8")
        axes.barh(row, middle["first_sound_s"], height=0.5, color="#8fa9c9")
        axes.plot(middle["first_text_s"], row, "|", color="#1f3a5f", markersize=24, mew=3)
        axes.text(middle["first_sound_s"], row + 0.32, f"{middle['first_sound_s']:.2f} s")
    axes.set_yticks(range(3), list(reversed(PROGRAMS)))
    axes.set_xlabel(
        "seconds after a spoken question (medians); bar to the first sound, | first text"
    )


# --- the programs, each in its own process --------------------------------------------------


class Worker:
    """A process that loads one program and answers questions on demand."""

    def __init__(self, name: str, dtype: str) -> None:
        context = multiprocessing.get_context("spawn")
        self._ours, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(name, dtype, theirs), daemon=True)
        self._process.start()
        self._ours.recv()

    def ask(self, question: Path) -> Timing:
        self._ours.send(question)
        return self._ours.recv()

    def close(self) -> None:
        self._ours.send(None)
        self._process.join()


def serve(name: str, dtype: str, pipe: Any) -> None:
    answer = {"whole": whole, "streamer": streamer, "unisono": unisono_stream}[name](dtype)
    pipe.send("ready")
    while (question := pipe.recv()) is not None:
        pipe.send(answer(question))


def unisono_stream(_dtype: str) -> Callable[[Path], Timing]:
    import unisono

    assistant = unisono.load("ola-nano").warm_up(listening=True, speech=True)

    def answer(question: Path) -> Timing:
        message = {"role": "user", "content": [{"type": "audio", "audio": question}]}
        for event in assistant.stream([message], speech=True, max_new_tokens=MAX_NEW_TOKENS):
            if isinstance(event, unisono.Finished):
                timings = event.timings
        return {
            "first_text_s": timings.first_text_s,
            "first_sound_s": timings.first_speech_s,
            "total_s": timings.total_s,
            "text": event.text,
        }

    return answer


class Script:
    """The parts of the two scripts: faster-whisper, transformers, Piper, as their pages say."""

    def __init__(self, dtype: str) -> None:
        import torch
        from faster_whisper import WhisperModel
        from piper import PiperVoice
        from transformers import AutoModelForCausalLM, AutoTokenizer

        from unisono.hub import fetch_model

        parts = fetch_model("ola-nano")
        gguf = next(parts["language_model"].glob("*.gguf"))
        self.whisper = WhisperModel(str(parts["listener"]))
        self.tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
        self.model = AutoModelForCausalLM.from_pretrained(
            gguf.parent, gguf_file=gguf.name, dtype=getattr(torch, dtype)
        )
        self.voice = PiperVoice.load(next(parts["voice"].glob("*.onnx")))
        self.system, self.settings = _settings_of_ola_nano()

    def inputs(self, question: Path) -> dict[str, Any]:
        segments, _ = self.whisper.transcribe(str(question))
        heard = "".join(segment.text for segment in segments).strip()
        messages = [
            {"role": "system", "content": self.system},
            {"role": "user", "content": heard},
        ]
        encoded = self.tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        return {**encoded, **self.settings}

    def speak(self, text: str) -> None:
        for _ in self.voice.synthesize(text):
            pass


def _settings_of_ola_nano() -> tuple[str, dict[str, Any]]:
    """The same system line and penalty as ours, so that the answers are of one length."""
    folder = Path(str(files("unisono") / "weights" / "ola-nano"))
    generation = json.loads((folder / "generation_config.json").read_text())
    settings = {
        "do_sample": False,
        "max_new_tokens": MAX_NEW_TOKENS,
        "repetition_penalty": generation["repetition_penalty"],
    }
    return json.loads((folder / "config.json").read_text())["system_prompt"], settings


def whole(dtype: str) -> Callable[[Path], Timing]:
    script = Script(dtype)

    def answer(question: Path) -> Timing:
        started = time.perf_counter()
        inputs = script.inputs(question)
        written = script.model.generate(**inputs)[0, inputs["input_ids"].shape[1] :]
        text = script.tokenizer.decode(written, skip_special_tokens=True)
        text_s = time.perf_counter() - started
        script.speak(text)
        sound_s = time.perf_counter() - started
        return {"first_text_s": text_s, "first_sound_s": sound_s, "total_s": sound_s, "text": text}

    return answer


def streamer(dtype: str) -> Callable[[Path], Timing]:
    import threading

    from transformers import TextIteratorStreamer

    script = Script(dtype)

    def answer(question: Path) -> Timing:
        started = time.perf_counter()
        inputs = script.inputs(question)
        stream = TextIteratorStreamer(script.tokenizer, skip_prompt=True, skip_special_tokens=True)
        thread = threading.Thread(
            target=script.model.generate, kwargs={**inputs, "streamer": stream}
        )
        thread.start()
        timing: Timing = {"text": ""}
        sentence = ""
        for piece in stream:
            if piece:
                timing.setdefault("first_text_s", time.perf_counter() - started)
            timing["text"] += piece
            sentence += piece
            if sentence.rstrip().endswith((".", "!", "?")):
                script.speak(sentence)
                timing.setdefault("first_sound_s", time.perf_counter() - started)
                sentence = ""
        if sentence.strip():
            script.speak(sentence)
            timing.setdefault("first_sound_s", time.perf_counter() - started)
        thread.join()
        timing["total_s"] = time.perf_counter() - started
        return timing

    return answer


if __name__ == "__main__":
    main()
