"""OpenAI's client for JavaScript, as npm has it, against `unisono serve` with the nano models.

It speaks to `/v1/realtime` only over TLS, so the server has a certificate of its own.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from served import EXAMPLES, Served, serve

from unisono.hub import fetch_part, npm_files, read_catalog
from unisono.media import load_audio, resample

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
OLDEST_NODE = 20
QUESTION = EXAMPLES / "questions" / "05-bees.ogg"


@pytest.fixture(scope="module")
def node() -> str:
    found = shutil.which("node")
    if found is None and os.environ.get("CI"):
        pytest.fail("node is not installed: apt-get install nodejs")
    if found is None:
        pytest.skip("node is not installed")
    version = subprocess.run([found, "--version"], capture_output=True, text=True, check=True)
    if int(version.stdout.strip("v\n").split(".")[0]) < OLDEST_NODE:
        pytest.skip(
            f"OpenAI's client needs Node.js {OLDEST_NODE} or newer, this is {version.stdout}"
        )
    return found


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose node_modules has the packages, verified, and the script."""
    folder = tmp_path_factory.mktemp("npm")
    catalog = read_catalog(HERE / "npm_packages.toml")
    for name, part in catalog.parts.items():
        package = fetch_part(name, catalog=catalog) / part.files[0].name
        with npm_files(package) as archive:
            archive.extractall(folder / name, filter="data")
        (folder / "node_modules").mkdir(exist_ok=True)
        (folder / name / "package").rename(folder / "node_modules" / name.removesuffix("-js"))
    shutil.copy(HERE / "npm_conversation.mjs", folder)
    spoken = resample(load_audio(QUESTION), 16_000, 24_000)
    silence = np.zeros(12_000, np.float32)
    samples = np.concatenate([silence, spoken, silence, silence])
    (folder / "question.pcm").write_bytes((samples * 32_767).astype("<i2").tobytes())
    return folder


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    place = tmp_path_factory.mktemp("tls")
    certificate, key = place / "certificate.pem", place / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*command, *names, *files], check=True, capture_output=True)
    options = ("--certificate", str(certificate), "--certificate-key", str(key))
    with serve(place, *options, certificate=certificate) as one:
        yield one


def test_the_conversation(node: str, project: Path, served: Served) -> None:
    done = subprocess.run(
        [node, "npm_conversation.mjs", served.url, str(QUESTION), "question.pcm"],
        cwd=project,
        env={**os.environ, "NODE_EXTRA_CA_CERTS": str(served.certificate)},
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout).keys() == {"typed", "spoken", "heard", "talked"}
