"""What every test needs before torch is imported, and the real small model, loaded once."""

from typing import TYPE_CHECKING

import pytest

import unisono

if TYPE_CHECKING:
    from unisono import Assistant

unisono._calm_openmp()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Where the tensors of the official implementations are: see tests/parity."""
    parser.addoption("--golden", metavar="DIR", help="golden set for tests/parity")


@pytest.fixture(scope="session")
def nano() -> "Assistant":
    """The real ola-nano, as a user gets it."""
    return unisono.load("ola-nano")
