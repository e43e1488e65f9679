"""Make the small golden set of the repository from a full one.

    python tests/parity/trim.py FULL tests/golden

What is left out, and so is checked only where the full set is, stands below and in the
left_out.json that this writes.
"""

import json
import shutil
import sys
from pathlib import Path

from safetensors.torch import load_file, save_file

LEFT_OUT: dict[str, list[str]] = {
    "ola_tiny_io": [
        "audio.long.",  # more than a minute of sound: 3 chunks; `short` is one
        "case.audio_text.",  # asks about it
        "case.video_audio_text_infer_literal.",  # as video_audio_text, with one frame
        "train.batch4.",  # the four samples in one batch
    ],
    "onepeace_tiny_io": [
        "in.audio_long_pcm16",
        "retrieval.audio_long.",
        "classify_aqa.",
        "classify_nlvr2.",
        "classify_vggsound.",
    ],
    "onepeace_vision_tolerance": [""],
    "onepeace_tiny_classify_aqa": [""],
    "onepeace_tiny_classify_nlvr2": [""],
    "onepeace_tiny_classify_vggsound": [""],
    "onepeace_vision": [""],
    "onepeace_vision_io": [""],
}
"""File stem -> beginnings of names; an empty one means the whole file."""

MOST_BYTES = 16_000_000
FILES = ("*.json", "*.safetensors")


def trim(full: Path, small: Path) -> int:
    """Write the small set; its size in bytes."""
    small.mkdir(parents=True, exist_ok=True)
    for path in sorted(one for pattern in FILES for one in full.glob(pattern)):
        beginnings = tuple(LEFT_OUT.get(path.stem, ()))
        if beginnings == ("",):
            continue
        if path.suffix == ".safetensors" and beginnings:
            kept = {n: t for n, t in load_file(path).items() if not n.startswith(beginnings)}
            save_file(kept, small / path.name)
        else:
            shutil.copyfile(path, small / path.name)
    (small / "left_out.json").write_text(json.dumps(LEFT_OUT, indent=2) + "\n")
    return sum(path.stat().st_size for path in small.iterdir())


if __name__ == "__main__":
    size = trim(Path(sys.argv[1]), Path(sys.argv[2]))
    print(f"{size:,} bytes")
    sys.exit(size > MOST_BYTES)
