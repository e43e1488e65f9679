"""npm packages, or a file in one, from the registry npm is set to.

Knows how a registry describes a version. Needs no npm.
"""

import base64
import binascii
import json
import os
from collections.abc import Iterator

from unisono.errors import DownloadError
from unisono.hub.archives import chunks_of, tar_member
from unisono.hub.catalog import NpmSource
from unisono.hub.transfer import Digest, Transfer, with_credentials_of

DEFAULT_REGISTRY = "https://registry.npmjs.org"


def read_npm(source: NpmSource, transfer: Transfer) -> Iterator[bytes]:
    """The member, or without one the package file (.tgz) itself.

    Raises:
        DownloadError: the registry has no such version, or it has no such member.
        ChecksumError: the package is not what the registry says.
    """
    registry = os.environ.get("npm_config_registry") or DEFAULT_REGISTRY  # noqa: SIM112 (npm's)
    name = source.package.replace("/", "%2F")
    page = transfer.page(f"{registry.rstrip('/')}/{name}/{source.version}", "application/json")
    url, digest = _distribution(page.content)
    path = transfer.archive(with_credentials_of(url, registry), digest)
    if source.member:
        yield from tar_member(path, source.member)
    else:
        with path.open("rb") as stream:
            yield from chunks_of(stream)


def _distribution(document: bytes) -> tuple[str, Digest | None]:
    try:
        distribution = json.loads(document)["dist"]
        return str(distribution["tarball"]), _digest(distribution)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise DownloadError("the registry's answer is not a package description") from error


def _digest(distribution: dict[str, object]) -> Digest | None:
    """`integrity` is `algorithm-base64`, several parted by blanks; only sha512 is used."""
    for item in str(distribution.get("integrity", "")).split():
        algorithm, _, value = item.partition("-")
        if algorithm == "sha512":
            try:
                return Digest("sha512", base64.b64decode(value, validate=True).hex())
            except binascii.Error:
                return None
    return None
