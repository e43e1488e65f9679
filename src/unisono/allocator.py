"""Memory of tensors on a CPU, kept by the process instead of given back after each use."""

import ctypes
import os
import sys

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4  # of mallopt(3)
_PAD_BYTES = 256 << 20


def keep_memory() -> bool:
    """Let freed blocks be used again as they are, from now on and for the whole process.

    glibc maps every large block anew and unmaps it when it is freed. Each use of a tensor then
    waits for the kernel to find and zero its pages: half the time of ONE-PEACE's convolutions
    over sound (docs/decisions/0007). Kept blocks make the process as large as its peak.

    Whoever has set one of glibc's own variables keeps what they say.

    Returns:
        Whether it was done: only with glibc, on Linux.
    """
    said = os.environ.get("MALLOC_MMAP_MAX_"), os.environ.get("MALLOC_TRIM_THRESHOLD_")
    if sys.platform != "linux" or any(said):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return False
    settings = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, 2**31 - 1), (_TOP_PAD, _PAD_BYTES))
    return all(mallopt(option, value) == 1 for option, value in settings)
