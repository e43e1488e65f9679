"""`unisono curate`, as a user calls it; the models are fakes."""

from pathlib import Path

import curation_fakes
import pytest
from films import film, tone
from typer.testing import CliRunner, Result

from unisono.cli import app
from unisono.curation import options
from unisono.curation.options import Options
from unisono.curation.plan import Plan


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Options]:
    """What the command makes of its options."""
    given: list[Options] = []

    def plan_of(chosen: Options) -> Plan:
        given.append(chosen)
        return curation_fakes.plan()

    monkeypatch.setattr(options, "plan_of", plan_of)
    return given


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["curate", *map(str, arguments)])


def test_a_data_set_of_a_folder(tmp_path: Path, asked: list[Options]) -> None:
    film(tmp_path / "red.mp4", [("red", 3)], tone(300, 3))
    (tmp_path / "key").write_text("secret\n", encoding="utf-8")
    server = ("--endpoint", "http://here/v1", "--endpoint-model", "big")
    key = ("--endpoint-key-file", tmp_path / "key")
    chosen = ("--language", "en", "--sound-labels", "dog, rain", "-f", "parquet", "--no-check")
    result = run(tmp_path / "red.mp4", "--out", tmp_path / "out", *server, *key, *chosen)
    assert result.exit_code == 0, result.output
    assert "| silence | clips | 1 |  | 1 |" in result.stdout
    assert "1 clips with 8 questions" in result.stdout
    (options_,) = asked
    assert options_.endpoint_key == "secret"
    assert (options_.languages, options_.sound_labels) == (("en",), ("dog", "rain"))
    assert (options_.forms, options_.check) == (("parquet",), False)
    assert "secret" not in repr(options_)
    written = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert not any(b"secret" in path.read_bytes() for path in written)


def test_nothing_left_is_said(tmp_path: Path, asked: list[Options]) -> None:
    (tmp_path / "a.mp4").write_bytes(b"no video")
    result = run(tmp_path / "a.mp4", "-o", tmp_path / "out")
    assert result.exit_code == 0
    assert "nothing is left" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--engine", "slurm"), "engine must be local or ray"),
        (("--format", "zip"), "forms.0: Input should be"),
        (("--writer", "me"), "writer: Input should be"),
        (("--endpoint-key-file", "gone"), "the key in 'gone' cannot be read"),
        ((), "does not exist"),
    ],
)
def test_faults_are_one_line(
    tmp_path: Path, asked: list[Options], arguments: tuple[str, ...], says: str
) -> None:
    result = run(tmp_path / "gone.mp4", "-o", tmp_path / "out", *arguments)
    assert result.exit_code == 2
    assert result.stderr.startswith("unisono: ")
    assert says in result.stderr
    assert len(result.stderr.splitlines()) == 1
