"""What every benchmark reports the same way: the machine, one JSON line, a picture beside it."""

import json
import os
import platform
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("torch", "transformers", "xllamacpp", "faster-whisper", "ctranslate2", "piper-tts")


def hardware() -> dict[str, Any]:
    """Processor, cores, memory, and the versions that matter."""
    cpu = platform.processor()
    flags: list[str] = []
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                cpu = value.strip()
            if key.strip() == "flags":
                flags = [f for f in value.split() if f.startswith(("avx", "amx"))]
    except OSError:
        pass
    return {
        "cpu": cpu,
        "vector_extensions": flags,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
    }


def publish(
    result: dict[str, Any], json_out: Path | None, draw: Callable[[Any], None] | None = None
) -> None:
    """Print the result as one JSON line; with a path, write it there, and a PNG beside it."""
    print(json.dumps(result))
    if json_out is None:
        return
    json_out.parent.mkdir(parents=True, exist_ok=True)
    json_out.write_text(json.dumps(result, indent=2) + "\n")
    if draw is not None:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot

        figure, axes = pyplot.subplots(figsize=(8, 2.8), layout="constrained")
        draw(axes)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        figure.savefig(json_out.with_suffix(".png"), dpi=150)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
