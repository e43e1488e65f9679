"""The real small model on the torch engine, as `load` falls back to it."""

import pytest

from unisono import Assistant, load
from unisono.engines import llama_api


@pytest.fixture(scope="session")
def nano_torch() -> Assistant:
    """What engine="auto" gives where llama.cpp is of another release."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(llama_api, "version", lambda _name: "9.9.9")
        return load("ola-nano", engine="auto")
