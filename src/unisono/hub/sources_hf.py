"""Files of the Hugging Face hub, through its own client."""

from collections.abc import Iterator
from pathlib import Path

from unisono.errors import DownloadError
from unisono.hub.archives import chunks_of
from unisono.hub.catalog import HfSource
from unisono.hub.transfer import CONNECT_TIMEOUT_S, Transfer


def read_hf(source: HfSource, transfer: Transfer) -> Iterator[bytes]:
    """The file, from the hub's cache on this machine or from the hub.

    Raises:
        DownloadError: the hub is out of reach, or has no such file; the client's own reason.
    """
    with _fetch(source, transfer).open("rb") as stream:
        yield from chunks_of(stream)


def _fetch(source: HfSource, transfer: Transfer) -> Path:
    # Imported here: it takes long to import, and most files come from elsewhere.
    from huggingface_hub import (
        constants,
        hf_hub_download,
        try_to_load_from_cache,
    )

    cached = try_to_load_from_cache(source.repo, source.path, revision=source.revision)
    if isinstance(cached, str):
        return Path(cached)
    # The client tries a host that cannot be reached six times in 23 s; so knock first.
    transfer.knock(constants.ENDPOINT)
    try:
        return Path(
            hf_hub_download(
                source.repo,
                source.path,
                revision=source.revision,
                local_dir=transfer.folder / "hf",
                etag_timeout=CONNECT_TIMEOUT_S,
            )
        )
    except Exception as error:
        # Its faults are of many unrelated classes. A full disk is no fault of the hub's.
        if isinstance(error, OSError) and error.errno is not None:
            raise
        first_line = (str(error) or type(error).__name__).strip().splitlines()[0]
        raise DownloadError(first_line) from error
