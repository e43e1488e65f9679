"""Freed blocks are used again: no page faults for a tensor of a size seen before."""

import subprocess
import sys

import pytest

PROGRAM = """
import os, resource, sys
os.environ["OMP_NUM_THREADS"] = "1"
import torch
from unisono.allocator import keep_memory
kept = keep_memory()
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        torch.ones(16 << 20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
for _ in range(4):
    faults()
print(int(kept), faults())
"""


def run(**variables: str) -> tuple[int, int]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": "/usr/bin:/bin"} | variables,
    )
    kept, faults = map(int, done.stdout.split())
    return kept, faults


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's")
@pytest.mark.slow
def test_memory_is_kept_unless_somebody_says_otherwise() -> None:
    kept, faults = run()
    if not kept:
        pytest.skip("another C library")
    refused, usual = run(MALLOC_TRIM_THRESHOLD_="131072")
    assert not refused
    assert faults * 10 < usual
