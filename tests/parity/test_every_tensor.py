"""No tensor of a golden set goes unchecked."""

import pytest
from golden import Golden


@pytest.mark.parametrize("family", ["ola", "onepeace"])
def test_every_tensor_was_asked_for(golden: Golden, family: str, whole_run: bool) -> None:
    if not whole_run:
        pytest.skip("only some of the parity tests were run")
    left = {stem: golden.file(stem).unchecked for stem in golden.stems if stem.startswith(family)}
    assert not {stem: names for stem, names in left.items() if names}
