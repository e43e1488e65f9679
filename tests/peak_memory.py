"""Run as a script: convert a checkpoint, load the result, and print what memory each took.

    python peak_memory.py OFFICIAL OURS SHARD_BYTES

A process of its own, because a peak cannot be told from what other tests have taken. Linux only.
"""

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch

from unisono.models import OlaForConditionalGeneration
from unisono.models.ola.convert import ConversionOptions, convert

RESET = Path("/proc/self/clear_refs")
Result = TypeVar("Result")


def resident_bytes(field: str) -> int:
    """VmRSS, what is resident now, or VmHWM, the most there was; pages of mapped files count."""
    status = Path("/proc/self/status").read_text()
    found = re.search(rf"{field}:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) * 1024


def peak_above_now(work: Callable[[], Result]) -> tuple[Result, int]:
    """What `work` returns, and the bytes it took at most."""
    RESET.write_text("5")  # the peak becomes what is there now
    before = resident_bytes("VmRSS")
    result = work()
    return result, resident_bytes("VmHWM") - before


def load(folder: Path) -> Any:
    """The model, every page of its weights touched: those of mapped files come only then."""
    model = OlaForConditionalGeneration.from_pretrained(folder)
    for parameter in model.parameters():
        parameter.detach().view(-1).view(torch.uint8)[::1024].max()
    return model


def main() -> None:
    source, folder, shard_bytes = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    options = ConversionOptions(shard_size_bytes=shard_bytes)
    report, converting = peak_above_now(lambda: convert(source, folder, options))
    _, loading = peak_above_now(lambda: load(folder))
    counts = {name: getattr(report, name) for name in ("kept", "written", "verified", "tensors")}
    print(json.dumps(counts | {"converting_bytes": converting, "loading_bytes": loading}))


if __name__ == "__main__":
    main()
