"""What every test needs before torch is imported, and the real small model, loaded once."""

import signal
from typing import TYPE_CHECKING

import pytest

import unisono

if TYPE_CHECKING:
    from unisono import Assistant

unisono.calm_openmp()

# A shell starts what it puts in the background with Ctrl-C ignored, and that would be inherited by
# the programs that tests interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Where the tensors of the official implementations are: see tests/parity."""
    parser.addoption("--golden", metavar="DIR", help="golden set for tests/parity")


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With several processes, a file is one process's; so is all of tests/parity, which counts."""
    if getattr(config.option, "loadgroup", False):
        for item in items:
            parity = item.path.parent.name == "parity"
            item.add_marker(pytest.mark.xdist_group("parity" if parity else item.path.stem))


@pytest.fixture(scope="session")
def nano() -> "Assistant":
    """The real ola-nano, as a user gets it."""
    return unisono.load("ola-nano")
