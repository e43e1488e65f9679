"""`unisono serve` with the real small models, as a user has it: OpenAI's client, curl, Ray."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from served import EXAMPLES, Served, converse, serve

pytestmark = pytest.mark.slow

DOCS = Path(__file__).parents[2] / "docs" / "serving.md"


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> str:
    uri = str(tmp_path_factory.mktemp("library") / "library")
    command = ["unisono", "index", str(EXAMPLES / "picturebook"), "--library", uri]
    subprocess.run([sys.executable, "-m", *command], check=True)
    return uri


@pytest.fixture(scope="module")
def served(library: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    place = tmp_path_factory.mktemp("served")
    with serve(place, "--library", library, "--files", str(EXAMPLES)) as one:
        yield one


def test_the_conversation(served: Served) -> None:
    with served.client() as client:
        print(json.dumps(converse(client), indent=1))


def test_search(served: Served) -> None:
    asked = {"text": "a drawing", "limit": 3}
    found = httpx.post(f"{served.url}/v1/search", json=asked, timeout=60).json()["data"]
    assert len(found) == 3
    assert all(Path(one["path"]).exists() for one in found)
    path = f"file://{EXAMPLES}/picturebook/demo-picture-1.jpg"
    same = httpx.post(f"{served.url}/v1/search", json={"image": path, "limit": 1}, timeout=60)
    assert Path(same.json()["data"][0]["path"]).name == "demo-picture-1.jpg"


def test_curl_lines_of_the_docs(served: Served, tmp_path: Path) -> None:
    """As they stand, but for the port."""
    lines = curl_lines(DOCS.read_text())
    assert len(lines) >= 6
    for name in ("question.ogg",):
        shutil.copy(EXAMPLES / "questions" / "05-bees.ogg", tmp_path / name)
    for line in lines:
        here = line.replace("http://127.0.0.1:8000", served.url)
        done = subprocess.run(
            ["bash", "-c", f"set -o pipefail; {here}"],
            cwd=tmp_path,
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, f"{line}\n{done.stderr.decode()}"
        assert b'"error"' not in done.stdout[:200], f"{line}\n{done.stdout.decode()[:500]}"
        assert done.stdout or "-o " in line
    assert (tmp_path / "hello.mp3").stat().st_size > 2000


def curl_lines(text: str) -> list[str]:
    """Every curl command in the shell blocks, its continued lines joined."""
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    return [
        one
        for block in blocks
        for one in re.findall(r"^curl (?:.|\n(?!curl|#|unisono))*", block, re.M)
    ]


def test_the_log_is_json_without_contents(served: Served) -> None:
    secret = "an unusual secret word zyzzyva"
    body = {"input": secret}
    headers = {"authorization": "Bearer sk-zyzzyva"}
    answer = httpx.post(f"{served.url}/v1/embeddings?key=zyzzyva", json=body, headers=headers)
    lines = served.log.read_text().splitlines()
    told = [json.loads(line) for line in lines if line.startswith("{")]
    assert any(one.get("request") == answer.headers["x-request-id"] for one in told)
    assert "zyzzyva" not in "".join(lines)


@pytest.fixture(scope="module")
def replicated(library: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    pytest.importorskip("ray.serve")
    place = tmp_path_factory.mktemp("replicated")
    options = ("--engine", "ray", "--replicas", "2", "--library", library)
    with serve(place, *options, ready_s=400) as one:
        yield one


def replicas(served: Served) -> list[psutil.Process]:
    """The processes that hold the models: children of the server that call themselves so."""
    children = psutil.Process(served.process.pid).children(recursive=True)
    return [one for one in children if "ServeReplica" in " ".join(one.cmdline())]


def test_the_conversation_with_two_replicas(replicated: Served) -> None:
    assert len(replicas(replicated)) == 2
    with replicated.client() as client:
        print(json.dumps(converse(client), indent=1))
