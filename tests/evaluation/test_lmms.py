"""lmms-eval, as it is, runs our models on local tasks and scores them as our own runner does.

It has an environment of its own: `make test-lmms`.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import recordings
import tiny
from PIL import Image

from unisono.conversation import Message
from unisono.evaluation import make_task
from unisono.evaluation.tasks.perplexity import OlaModel
from unisono.manifests.row import ConversationRow
from unisono.runtime import load_assistant

pytest.importorskip("lmms_eval")
pytestmark = pytest.mark.slow

from unisono.evaluation.harness import lmms_model  # noqa: E402

TASKS = Path(__file__).parent / "lmms_tasks"
COUNT = 18


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    model, processor = tiny.ola(vision=True, sound=True)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def docs(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Pictures, videos and sounds, with a question each."""
    folder = tmp_path_factory.mktemp("media")
    draws = np.random.default_rng(0)
    docs = []
    for i in range(COUNT):
        kind, ending = (("image", "png"), ("video", "mp4"), ("audio", "wav"))[i % 3]
        path = folder / f"{i}.{ending}"
        if kind == "image":
            Image.fromarray(draws.integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(path)
        elif kind == "video":
            path.write_bytes(recordings.make_video(draws.integers(0, 255, 50).tolist()))
        else:
            path.write_bytes(recordings.make_audio(seconds=0.5 + 0.1 * i))
        docs.append({"kind": kind, "path": str(path), "question": f"What is number {i}?"})
    return docs


def row(name: int, doc: dict[str, Any], answer: str) -> ConversationRow:
    medium = {"type": doc["kind"], doc["kind"]: doc["path"]}
    asked = Message(role="user", content=[medium, {"type": "text", "text": doc["question"]}])
    return ConversationRow(f"r:{name}", (asked, Message(role="assistant", content=answer)))


def harness(task: str, docs: list[dict[str, Any]], model: Path, out: Path, *more: str) -> Any:
    """What lmms-eval's own command line finds: the task's numbers, and the response to each row."""
    name = f"unisono_{task}"
    tasks = out / "tasks"
    tasks.mkdir()
    (tasks / "local.py").write_text((TASKS / "local.py").read_text())
    data = tasks / f"{task}.jsonl"
    data.write_text("".join(json.dumps(doc) + "\n" for doc in docs))
    said = (TASKS / f"{name}.yaml").read_text().replace(data.name, str(data))
    (tasks / f"{name}.yaml").write_text(said)
    command = [sys.executable, "-m", "lmms_eval", "--model", "unisono", "--tasks", name]
    command += ["--model_args", f"pretrained={model}", "--include_path", str(tasks)]
    command += ["--batch_size", "1", "--output_path", str(out / "found"), "--log_samples", *more]
    offline = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(out / "hf"), "OMP_NUM_THREADS": "1"}
    ran = subprocess.run(
        command, env=os.environ | offline, capture_output=True, text=True, check=False
    )
    files = list((out / "found").rglob("*_results.json"))
    assert files, ran.stdout[-4000:] + ran.stderr[-4000:]
    assert name in ran.stdout, "it prints a table"
    (samples,) = (out / "found").rglob(f"*_samples_{name}.jsonl")
    rows = [json.loads(line) for line in samples.read_text().splitlines()]
    numbers = json.loads(files[0].read_text())["results"][name]
    return numbers, [_one(one["filtered_resps"]) for one in sorted(rows, key=lambda r: r["doc_id"])]


def _one(responses: Any) -> Any:
    """Of one response a list of one, or the response itself."""
    return responses[0] if len(responses) == 1 else responses


@pytest.mark.parametrize("interface", ["chat", "simple"])
def test_generated_answers_score_as_ours(
    interface: str, folder: Path, docs: list[dict[str, Any]], tmp_path: Path
) -> None:
    task = make_task("answers", max_tokens=12)
    assistant = load_assistant(str(folder))
    first = task.predict(assistant, [row(i, doc, "?") for i, doc in enumerate(docs)])
    said = [str(one.output["answer"]) for one in first]
    assert len(set(said)) > COUNT // 2, "the media must matter"
    # Right is what the model says to a third of the rows, so that the score is neither 0 nor 1.
    right = [one if i // 3 % 3 == 0 else "something else" for i, one in enumerate(said)]
    rows = [row(i, doc, answer) for i, (doc, answer) in enumerate(zip(docs, right, strict=True))]
    ours = task.score(task.predict(assistant, rows))["exact_match"]
    given = [{**doc, "answer": answer} for doc, answer in zip(docs, right, strict=True)]
    more = ["--force_simple"] if interface == "simple" else []
    numbers, found = harness("says", given, folder, tmp_path, *more)
    assert 0 < ours.value < 1
    assert numbers["exact_match,none"] == pytest.approx(ours.value, abs=1e-9)
    assert [one.strip() for one in found] == [one.strip() for one in said]


def test_greedy_is_told() -> None:
    model = OlaModel(*tiny.ola())
    asked = Message(role="user", content="Which?")
    likelihoods = [
        lmms_model.continuation(model, (asked, Message(role="assistant", content=chr(one))))
        for one in range(97, 123)
    ]
    nll = [value for value, _ in likelihoods]
    assert len({round(one, 6) for one in nll}) > 20
    assert sum(greedy for _, greedy in likelihoods) <= 1
