"""No tensor of a golden set goes unchecked."""

import pytest
from golden import Golden

DENSE = ("adapter", "cls", "det", "mask2former", "video")
"""The vision branch's tasks: segmentation, image classification, detection, video."""

LATER: dict[str, tuple[str, ...]] = {
    "onepeace_vision": DENSE,
    "onepeace_vision_io": (*DENSE, *(f"in.{task}" for task in DENSE)),
}
"""File stem -> beginnings of names that belong to a task still to be built."""


@pytest.mark.parametrize("family", ["ola", "onepeace"])
def test_every_tensor_was_asked_for(golden: Golden, family: str, whole_run: bool) -> None:
    if not whole_run:
        pytest.skip("only some of the parity tests were run")
    left = {
        stem: [n for n in golden.file(stem).unchecked if not n.startswith(LATER.get(stem, ()))]
        for stem in golden.stems
        if stem.startswith(family)
    }
    assert not {stem: names for stem, names in left.items() if names}
