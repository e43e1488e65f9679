"""Who takes part in decode.py, their processes, and the turns they take."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from rich.console import Console
from rich.progress import track

WORKER = Path(__file__).with_name("decode_worker.py")
REFERENCE = "transformers generate, fp32"

PROMPTS = (
    "Explain in a few paragraphs why the sky is blue.",
    "What is the capital of France?",
    "Write a short story about a lighthouse keeper.",
    "How do I boil an egg?",
    "List five uses of a paper clip.",
    "What is the difference between a virus and a bacterium?",
    "Write a Python function that reverses a string.",
    "Give me three tips for sleeping better.",
    "Who was Marie Curie?",
    "Translate 'good morning' into Spanish.",
    "Why do leaves change colour in autumn?",
    "What is 17 plus 25? Explain how you got there.",
    "Write a polite letter asking for a day off.",
    "Describe the water cycle to a child.",
    "What does a conductor of an orchestra do?",
    "Name the planets of the solar system in order.",
    "Write a haiku about rain.",
    "How does a bicycle stay upright?",
    "What should I pack for a week in the mountains?",
    "Summarise the story of Romeo and Juliet.",
)


@dataclass(frozen=True)
class Contestant:
    """An engine with its weights.

    Attributes:
        name: as the table shows it.
        weights: their precision.
        kind: of decode_worker.py.
        python: the interpreter that has it.
        options: of its kind.
        install: the command that installs it.
        compress: for OpenVINO, optimum-intel's options; `options["model"]` is made with them.
        default: what `unisono.load` takes on a CPU.
    """

    name: str
    weights: str
    kind: str
    python: str
    options: dict[str, Any]
    install: str = ""
    compress: tuple[str, ...] = ()
    default: bool = False

    @property
    def label(self) -> str:
        return f"{self.name}, {self.weights}"


def contestants(
    gguf: Path, folder: Path, threads: int, pythons: tuple[str, str]
) -> list[Contestant]:
    """All of them; `folder` keeps what is exported, `pythons` are llama.cpp's and OpenVINO's."""
    ours, llama, openvino = sys.executable, *pythons
    common = {"threads": threads, "gguf": str(gguf)}
    field = [
        Contestant(
            "unisono, llama.cpp",
            "Q4_1",
            "unisono",
            ours,
            common | {"engine": "llama.cpp"},
            default=True,
        )
    ]
    for short, dtype in (("fp32", "float32"), ("bf16", "bfloat16")):
        torch = common | {"engine": "torch", "dtype": dtype}
        field.append(Contestant("unisono, torch", short, "unisono", ours, torch))
        field.append(Contestant("transformers generate", short, "transformers", ours, torch))
    field.append(
        Contestant(
            "llama-cpp-python",
            "Q4_1",
            "llama-cpp-python",
            llama,
            common,
            install="pip install 'llama-cpp-python==0.3.36'",
        )
    )
    for weights, compress in (
        ("int8", ("--weight-format", "int8")),
        ("int4, groups of 32", ("--weight-format", "int4", "--group-size", "32", "--ratio", "1.0")),
        ("int4, groups of 64", ("--weight-format", "int4", "--group-size", "64", "--ratio", "1.0")),
        ("Q4_1", ()),
    ):
        exported = folder / f"openvino-{weights.replace(', groups of ', '-')}"
        field.append(
            Contestant(
                "OpenVINO GenAI",
                weights,
                "openvino",
                openvino,
                # Its other attention keeps the last prompt: no first token would be measured.
                common
                | {
                    "model": str(exported if compress else gguf),
                    "properties": {"ATTENTION_BACKEND": "SDPA"},
                },
                install="pip install -r benchmarks/requirements-openvino.txt",
                compress=compress,
            )
        )
    return field


class Worker:
    """A contestant's process.

    Attributes:
        present: whether it can be measured; else `why` says why not.
        versions: of its packages.
    """

    def __init__(self, contestant: Contestant) -> None:
        """Start the process and wait until the model is loaded."""
        self.present, self.why, self.versions = False, "", {}
        self._label = contestant.label
        self._process: subprocess.Popen[str] | None = None
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115 -- closed by `close`
        try:
            if contestant.compress:
                export(contestant)
            self._start(contestant)
        except (OSError, subprocess.CalledProcessError, RuntimeError) as error:
            self.why = _reason(error)

    def _start(self, contestant: Contestant) -> None:
        self._process = subprocess.Popen(
            [contestant.python, str(WORKER), contestant.kind, json.dumps(contestant.options)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        hello = self._read()
        if missing := hello.get("missing"):
            self.why = f"not installed ({missing}): {contestant.install}"
        else:
            self.present, self.versions = True, hello["ready"]

    def generate(self, ids: list[int], count: int) -> dict[str, Any]:
        """Write `count` tokens after `ids`: their `ids`, `first_token_s`, `tokens_per_s`, ….

        Raises:
            RuntimeError: the process ended.
        """
        requests, _ = self._pipes()
        requests.write(json.dumps({"ids": ids, "count": count}) + "\n")
        requests.flush()
        return self._read()

    def _pipes(self) -> tuple[IO[str], IO[str]]:
        process = self._process
        if process is None or process.stdin is None or process.stdout is None:
            raise RuntimeError(f"{self._label} does not run: {self.why}")
        return process.stdin, process.stdout

    def _read(self) -> dict[str, Any]:
        line = self._pipes()[1].readline()
        if not line:
            status = self._process.wait() if self._process else None
            self._log.seek(0)
            said = _last_line(self._log.read())
            raise RuntimeError(f"{self._label} ended with status {status}: {said}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """End the process."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._log.close()


@dataclass
class Measured:
    """A contestant, its process, and what it did: one of `answers` a prompt, of `runs` a round."""

    contestant: Contestant
    worker: Worker
    answers: list[list[int]] = field(default_factory=list)
    runs: list[dict[str, Any]] = field(default_factory=list)


def agreement_prompts(present: list[Measured], prompts: list[list[int]], count: int) -> None:
    """Let each contestant answer each prompt; this also warms them."""
    turns = [(one, prompt) for prompt in prompts for one in present]
    for one, prompt in _track(turns, "texts"):
        one.answers.append(one.worker.generate(prompt, count)["ids"])


def take_turns(present: list[Measured], prompt: list[int], count: int, rounds: int) -> None:
    """Time each contestant once a round; who is first changes from round to round."""
    turns = [
        one
        for start in range(rounds)
        for one in present[start % len(present) :] + present[: start % len(present)]
    ]
    for one in _track(turns, "rounds"):
        load = os.getloadavg()[0]
        one.runs.append(one.worker.generate(prompt, count) | {"load_average": load})


@contextmanager
def busy(cores: int) -> Iterator[None]:
    """Keep `cores` cores busy with other programs."""
    programs = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(cores)]
    try:
        yield
    finally:
        for program in programs:
            program.kill()
            program.wait()


def _track(turns: list[Any], what: str) -> Any:
    console = Console(stderr=True)
    return track(turns, what, console=console, disable=not console.is_terminal)


def export(contestant: Contestant) -> None:
    """Make the folder that OpenVINO reads, unless it is there."""
    target = Path(contestant.options["model"])
    program = Path(contestant.python).parent / "optimum-cli"
    if target.exists() or not program.exists():
        return  # without the program the worker will say what is missing
    target.parent.mkdir(parents=True, exist_ok=True)
    print(f"exporting {contestant.label} (a minute)", file=sys.stderr)
    with tempfile.TemporaryDirectory(dir=target.parent) as temporary:
        weights, exported = Path(temporary) / "weights", Path(temporary) / "exported"
        options = json.dumps(contestant.options | {"folder": str(weights)})
        _run([sys.executable, str(WORKER), "save_for_openvino", options])
        command = [str(program), "export", "openvino", "-m", str(weights)]
        command += ["--task", "text-generation-with-past", *contestant.compress, str(exported)]
        _run(command)
        shutil.move(exported, target)


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)


def _reason(error: Exception) -> str:
    text = error.stderr if isinstance(error, subprocess.CalledProcessError) else str(error)
    return f"failed: {_last_line(text)}"


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no message"
