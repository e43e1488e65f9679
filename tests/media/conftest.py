"""Real files made on the fly, as fixtures."""

from collections.abc import Callable

import pytest
import recordings


@pytest.fixture(scope="session")
def make_audio() -> Callable[..., bytes]:
    return recordings.make_audio


@pytest.fixture(scope="session")
def make_video() -> Callable[..., bytes]:
    return recordings.make_video
