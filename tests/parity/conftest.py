"""The golden set that the parity tests read: `pytest tests/parity --golden DIR`."""

from pathlib import Path

import pytest
from golden import Golden
from official_ola import Ola, converted
from one_thread import one_thread

__all__ = ["one_thread"]

ROOT = Path(__file__).parents[2]
DEFAULTS = (ROOT.parent / "shared" / "golden", ROOT / "tests" / "golden")


@pytest.fixture(scope="session")
def golden(request: pytest.FixtureRequest) -> Golden:
    """The set named on the command line, else the full one, else the trimmed copy."""
    given = request.config.getoption("--golden")
    folder = Path(given) if given else next((d for d in DEFAULTS if d.is_dir()), None)
    if folder is None or not folder.is_dir():
        pytest.fail(f"there is no golden set at {given or DEFAULTS[-1]}")
    return Golden(folder)


@pytest.fixture
def whole_run(request: pytest.FixtureRequest) -> bool:
    """Whether all parity tests are run, none picked by name or file."""
    config = request.config
    picked = [a for a in config.args if "::" in a or a.endswith(".py")]
    return not picked and not config.option.keyword


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The count of what was checked comes after the checks."""
    items.sort(key=lambda item: item.path.name == "test_every_tensor.py")


@pytest.fixture(scope="session")
def ola(golden: Golden, tmp_path_factory: pytest.TempPathFactory) -> Ola:
    """The golden Ola through the conversion and loading that a user's checkpoint goes through."""
    return converted(golden, tmp_path_factory.mktemp("ola"))
