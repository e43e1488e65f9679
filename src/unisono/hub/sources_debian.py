"""Debian packages, or a file in one, from the machine's mirrors, Debian's own, its snapshots.

Knows how apt writes down its sources (sources.list(5), both formats). Needs no apt: any
machine with a network can read a Debian package.
"""

from collections.abc import Iterator
from pathlib import Path

from unisono.errors import ChecksumError, DownloadError
from unisono.hub.archives import chunks_of, deb_member
from unisono.hub.catalog import DebianSource
from unisono.hub.transfer import Digest, Transfer

APT_FOLDER = Path("/etc/apt")
DEBIAN_ARCHIVE = "https://deb.debian.org/debian"
SNAPSHOT_ARCHIVE = "https://snapshot.debian.org/archive/debian"


def read_debian(source: DebianSource, sha256: str, transfer: Transfer) -> Iterator[bytes]:
    """The member, or without one the package file itself, whose sha256 is then known.

    Raises:
        DownloadError: no archive has the package, or it has no such member.
        ChecksumError: a whole package is not the pinned one at the last archive that had it.
    """
    digest = None if source.member else Digest("sha256", sha256)
    path = _fetch_package(source, digest, transfer)
    if source.member:
        yield from deb_member(path, source.member)
    else:
        with path.open("rb") as stream:
            yield from chunks_of(stream)


def _fetch_package(source: DebianSource, digest: Digest | None, transfer: Transfer) -> Path:
    reasons: list[DownloadError | ChecksumError] = []
    for base in archive_urls(source):
        try:
            return transfer.archive(f"{base}/{source.pool_path}", digest)
        except (DownloadError, ChecksumError) as error:
            reasons.append(error)
    reason = ", ".join(dict.fromkeys(str(error) for error in reasons))
    wrong = any(isinstance(error, ChecksumError) for error in reasons)
    raise ChecksumError(reason) if wrong else DownloadError(reason)


def archive_urls(source: DebianSource) -> list[str]:
    """Where to ask, in order; each once."""
    urls = [*apt_mirrors(APT_FOLDER), DEBIAN_ARCHIVE]
    if source.snapshot:
        urls.append(f"{SNAPSHOT_ARCHIVE}/{source.snapshot}")
    return list(dict.fromkeys(url.rstrip("/") for url in urls))


def apt_mirrors(folder: Path) -> list[str]:
    """The http(s) mirrors of Debian's main archive in apt's configuration.

    Other archives (security updates, vendors') are left out: the packages are not there, and
    a vendor need not learn what is fetched here.
    """
    mirrors: list[str] = []
    lists = folder / "sources.list.d"
    for path in [folder / "sources.list", *sorted(lists.glob("*.list"))]:
        for line in _read(path).splitlines():
            mirrors += _one_line(line)
    for path in sorted(lists.glob("*.sources")):
        for stanza in _stanzas(_read(path)):
            mirrors += _deb822(stanza)
    return list(dict.fromkeys(mirrors))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _one_line(line: str) -> list[str]:
    """`deb [options] uri suite component...`."""
    kind, _, rest = line.partition("#")[0].strip().partition(" ")
    rest = rest.strip()
    if rest.startswith("["):
        rest = rest.partition("]")[2]
    words = rest.split()
    return _main_archives(words[:1], words[2:]) if kind == "deb" else []


def _stanzas(text: str) -> Iterator[dict[str, str]]:
    """Stanzas are parted by blank lines; a line that begins with a blank continues the field."""
    for block in text.replace("\r", "").split("\n\n"):
        fields: dict[str, str] = {}
        field = ""
        for line in block.splitlines():
            if line.startswith("#"):
                continue
            if line[:1].isspace():
                fields[field] = f"{fields.get(field, '')} {line.strip()}"
                continue
            field, _, value = line.partition(":")
            field = field.strip().lower()
            fields[field] = value.strip()
        yield fields


def _deb822(fields: dict[str, str]) -> list[str]:
    enabled = fields.get("enabled", "yes").lower() not in {"no", "false", "0"}
    if not enabled or "deb" not in fields.get("types", "").split():
        return []
    return _main_archives(fields.get("uris", "").split(), fields.get("components", "").split())


def _main_archives(urls: list[str], components: list[str]) -> list[str]:
    if "main" not in components:
        return []
    return [
        url
        for url in urls
        if url.startswith(("http://", "https://")) and url.rstrip("/").endswith("/debian")
    ]
