"""The web page's files and what it asks: addresses, policies, hits by id.

How it behaves in a browser is tested in test_server_page_browser.py.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urljoin

import pytest
from fake_embedder import COLOURS, FakeEmbedder
from fakes import FakeVoice, ScriptedEngine, scripted
from fastapi.testclient import TestClient
from PIL import Image

from unisono.errors import DataError
from unisono.retrieval import Library, Query, file_of
from unisono.server import ServerSettings, make_app
from unisono.server.page_files import page_files

KEY = "a-secret-key"
MOST_LINES = 300


def client_of(library: str | None = None, *keys: str) -> TestClient:
    settings = ServerSettings(library=library, api_keys=frozenset(keys))
    assistants = {"talker": lambda: scripted(ScriptedEngine("Hello."), FakeVoice())}
    return TestClient(make_app(assistants, {"vectors": FakeEmbedder}, settings))


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page") / "media"
    folder.mkdir()
    for name, colour in COLOURS.items():
        Image.new("RGB", (40, 30), colour).save(folder / f"{name}.png")
    (folder / "blue.txt").write_text("blue words about the sea, <script>alert(1)</script>")
    return folder


@pytest.fixture(scope="module")
def library(media: Path) -> str:
    library = Library(media.parent / "library", FakeEmbedder())
    library.index([media])
    return library.uri


@pytest.fixture(scope="module")
def client(library: str) -> Iterator[TestClient]:
    with client_of(library) as one:
        yield one


def hit(client: TestClient, **query: object) -> dict[str, str]:
    found: list[dict[str, str]] = client.post("/v1/search", json=query).json()["data"]
    return found[0]


# --- the page ------------------------------------------------------------------------------


def test_every_file_that_the_page_names_is_served(client: TestClient) -> None:
    seen, left = set(), ["/"]
    while left:
        path = left.pop()
        answer = client.get(path)
        assert answer.status_code == 200, path
        seen.add(path)
        names = re.findall(r"""(?:(?:src|href)|from|address\()[ =(]*"([^"#]+\.\w+)""", answer.text)
        base = path if path.startswith("/page/js") else "/"
        left += [
            found
            for name in names
            if (found := urljoin("/" if name.startswith("page/") else base, name)) not in seen
        ]
    assert seen == {path for path in page_files() if path != "/page/index.html"}


def test_nothing_comes_from_elsewhere_and_nothing_runs_inline(client: TestClient) -> None:
    for path in page_files():
        answer = client.get(path)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "*" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        text = answer.text.replace("http://www.w3.org/", "")  # names of XML, never fetched
        assert not re.search(r"https?://|//cdn", text), path
        assert "innerHTML" not in text
    index = client.get("/").text
    assert not re.search(r"<script(?![^>]*src=)| on\w+=| style=", index)


def test_its_files_are_small() -> None:
    for path, file in page_files().items():
        assert len(file.content.splitlines()) < MOST_LINES, path


def test_an_unchanged_file_is_not_sent_again(client: TestClient) -> None:
    tag = client.get("/page/js/main.js").headers["etag"]
    again = client.get("/page/js/main.js", headers={"if-none-match": tag})
    assert (again.status_code, again.content) == (304, b"")
    assert client.get("/", headers={"if-none-match": tag}).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/page/../app.py",
        "/page/%2e%2e/app.py",
        "/page/..%2fapp.py",
        "/page//etc/passwd",
        "/page/js/",
        "/page/js/../../app.py",
        "/page/js/main.js%00",
        "/page/",
    ],
)
def test_only_its_files(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 404
    assert answer.json()["error"]["message"]


def test_the_page_needs_no_key_and_all_else_does(library: str) -> None:
    with client_of(library, KEY) as client:
        for path in page_files():
            assert client.get(path).status_code == 200
        for path in ("/v1/about", "/v1/models", f"/v1/search/{'0' * 32}/file", "/page/no.js"):
            assert client.get(path).status_code == 401
        right = {"authorization": f"Bearer {KEY}"}
        assert client.get("/v1/about", headers=right).status_code == 200


def test_about(client: TestClient) -> None:
    about = client.get("/v1/about").json()
    assert about["assistants"] == ["talker"]
    assert about["embedders"] == ["vectors"]
    assert about["library"] is True
    assert about["max_request_bytes"] == ServerSettings().max_request_bytes
    with client_of() as bare:
        assert bare.get("/v1/about").json()["library"] is False


# --- files of hits -------------------------------------------------------------------------


def test_a_hit_leads_to_its_file(client: TestClient, media: Path) -> None:
    found = hit(client, text="red", modalities=["image"])
    answer = client.get(f"/v1/search/{found['id']}/file")
    assert answer.content == (media / "red.png").read_bytes()
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["content-disposition"].startswith("inline")
    part = client.get(f"/v1/search/{found['id']}/file", headers={"range": "bytes=1-3"})
    assert (part.status_code, part.content) == (206, b"PNG")


def test_what_is_in_files_does_not_run(client: TestClient, media: Path) -> None:
    found = hit(client, text="blue words", modalities=["text"])
    answer = client.get(f"/v1/search/{found['id']}/file")
    assert "<script>" in answer.text
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert "sandbox" in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "name", ["0" * 32, "nothing", "..%2f..%2fetc%2fpasswd", "' OR 1=1 --", "%", "A" * 5000]
)
def test_no_such_hit(client: TestClient, name: str) -> None:
    answer = client.get(f"/v1/search/{name}/file")
    assert answer.status_code == 404
    assert answer.json()["error"]["message"]


def test_no_library() -> None:
    with client_of() as client:
        assert client.get(f"/v1/search/{'0' * 32}/file").status_code == 400


def test_a_file_that_became_another_one_is_not_shown(tmp_path: Path) -> None:
    path = tmp_path / "red.png"
    Image.new("RGB", (40, 30), "red").save(path)
    library = Library(tmp_path / "library", FakeEmbedder())
    library.index([path])
    (found,) = library.search(Query.of(text="red"), limit=1)
    assert file_of(library.uri, found.id).path == str(path)
    secret = tmp_path / "secret"
    secret.write_text("secret")
    path.unlink()
    with pytest.raises(DataError, match=r"'red\.png' is not there any more"):
        file_of(library.uri, found.id)
    os.symlink(secret, path)
    with pytest.raises(DataError, match=r"'red\.png' has changed since it was indexed"):
        file_of(library.uri, found.id)
