"""What every test needs before torch is imported, and the real small model, loaded once."""

import signal
from typing import TYPE_CHECKING, Any

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


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With several processes, a file is one process's; so is tests/parity, which counts tensors."""
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = super()._split_scope(nodeid)
            return "parity" if "tests/parity/" in file else file

    return Scheduling(config, log)


@pytest.fixture(scope="session")
def nano() -> "Assistant":
    """The real ola-nano, as a user gets it."""
    return unisono.load("ola-nano")
