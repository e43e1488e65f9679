"""`unisono convert` on a ONE-PEACE file: what comes out makes vectors."""

from pathlib import Path

import numpy as np
import torch
from official_onepeace_layout import write_checkpoint, write_vocabulary
from typer.testing import CliRunner

import unisono
from unisono.cli import app


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["convert", *map(str, arguments)])
    return result.exit_code, result.output


def test_a_converted_checkpoint_embeds_as_the_original(tmp_path: Path) -> None:
    model = write_checkpoint(tmp_path / "one-peace.pt")
    write_vocabulary(tmp_path)
    code, said = run(tmp_path / "one-peace.pt", tmp_path / "ours")
    assert code == 0, said
    assert "OnePeaceModel" in said
    embedder = unisono.load(tmp_path / "ours")
    inputs = embedder.processor(text=["a dog"])
    with torch.no_grad():
        expected = model(**inputs).embeddings["text"][0].numpy()
    np.testing.assert_allclose(embedder.embed(text="a dog")[0], expected, atol=1e-5)


def test_the_vocabulary_may_lie_elsewhere_or_come_later(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "one-peace.pt")
    code, said = run(tmp_path / "one-peace.pt", tmp_path / "silent")
    assert code == 0, said
    assert "--vocabulary" in said.replace("\n", " ")
    (tmp_path / "words").mkdir()
    write_vocabulary(tmp_path / "words")
    code, said = run(
        tmp_path / "one-peace.pt", tmp_path / "ours", "--vocabulary", tmp_path / "words"
    )
    assert code == 0, said
    assert unisono.load(tmp_path / "ours").embed(text="a dog").shape == (1, 32)


def test_a_vocabulary_that_was_named_must_be_there(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "one-peace.pt")
    (tmp_path / "empty").mkdir()
    code, said = run(
        tmp_path / "one-peace.pt", tmp_path / "ours", "--vocabulary", tmp_path / "empty"
    )
    assert code == 2
    assert "encoder.json" in said
    assert not (tmp_path / "ours").exists()


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "one-peace.pt")
    (tmp_path / "ours").mkdir()
    (tmp_path / "ours" / "notes.txt").write_text("mine")
    code, said = run(tmp_path / "one-peace.pt", tmp_path / "ours")
    assert code == 2
    assert "must be empty" in said
    assert [path.name for path in (tmp_path / "ours").iterdir()] == ["notes.txt"]


def test_what_is_no_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "x.pt").write_bytes(b"no pickle")
    code, said = run(tmp_path / "x.pt", tmp_path / "ours")
    assert code == 2
    assert "Traceback" not in said
    assert not (tmp_path / "ours").exists()
