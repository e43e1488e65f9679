"""`unisono serve --certificate`: what is wrong with the files is said before anything is loaded."""

import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from unisono.cli import app
from unisono.errors import UnisonoError
from unisono.server.process import Tls


def made(folder: Path, name: str) -> Tls:
    files = [folder / f"{name}.{kind}.pem" for kind in ("certificate", "key")]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=here"]
    options = ["-out", str(files[0]), "-keyout", str(files[1])]
    subprocess.run([*command, *options], check=True, capture_output=True)
    return Tls(*files)


def test_files_that_do_not_fit(tmp_path: Path) -> None:
    one, other = made(tmp_path, "one"), made(tmp_path, "other")
    one.check()
    (tmp_path / "broken.pem").write_text("nothing")
    for wrong in (
        Tls(one.certificate, other.key),
        Tls(tmp_path / "broken.pem", one.key),
        Tls(one.certificate, tmp_path / "missing.pem"),
    ):
        with pytest.raises(UnisonoError, match="cannot be used"):
            wrong.check()


@pytest.mark.parametrize(
    "options",
    [
        ["--certificate", "a.pem"],
        ["--certificate", "a", "--certificate-key", "b", "--engine", "ray"],
    ],
)
def test_options_that_do_not_fit(options: list[str]) -> None:
    done = CliRunner().invoke(app, ["serve", *options])
    assert done.exit_code == 2
    assert "certificate" in done.output
