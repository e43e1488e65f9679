"""What a user gets from `pip install unisono`: the wheel, away from the checkout."""

import json
import os
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "unisono"


def run(*command: str | Path, cwd: Path) -> str:
    """The command's output; on failure, all it said."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    done = subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built with the hatchling of this environment, so nothing is downloaded."""
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, cwd=ROOT)
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def away(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `env/`, a fresh environment that has the wheel; its neighbours are lent."""
    folder = tmp_path_factory.mktemp("away")
    venv.create(folder / "env", with_pip=False, symlinks=os.name != "nt")
    paths = {"base": str(folder / "env"), "platbase": str(folder / "env")}
    site = Path(sysconfig.get_path("purelib", scheme="venv", vars=paths))
    pip = (sys.executable, "-m", "pip", "--python", interpreter(folder), "install")
    run(*pip, "--quiet", "--no-deps", "--no-index", wheel, cwd=folder)
    # A path file comes after the environment's own packages, and path files in the folder it
    # names (an editable install of the checkout is one) are not read.
    (site / "lent.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    return folder


def interpreter(folder: Path) -> Path:
    return Path(
        sysconfig.get_path("scripts", scheme="venv", vars={"base": str(folder / "env")})
    ) / ("python.exe" if os.name == "nt" else "python")


def python(folder: Path, code: str) -> str:
    return run(interpreter(folder), "-c", code, cwd=folder).strip()


def test_everything_in_the_source_folder_is_in_the_wheel(wheel: Path) -> None:
    inside = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("unisono/")}
    files = {
        f"unisono/{path.relative_to(SOURCE).as_posix()}"
        for path in SOURCE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert inside == files
    wanted = {"py.typed", "hub/catalog.toml", "hub/cards/ola-nano.md"}
    assert {f"unisono/{name}" for name in wanted} <= inside
    assert "unisono/weights/ola-nano/config.json" in inside


def test_the_wheel_holds_the_licence_and_nothing_beside_the_package(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)
    assert {name.split("/")[0].partition("-")[0] for name in names} == {"unisono"}


def test_the_version_is_that_of_pyproject(away: Path) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert python(away, "import unisono; print(unisono.__version__)") == version


def test_unisono_is_imported_from_the_wheel(away: Path) -> None:
    path = Path(python(away, "import unisono; print(unisono.__file__)"))
    assert path.is_relative_to(away / "env")
    assert not path.is_relative_to(ROOT)


def test_the_command_lists_the_catalog(away: Path) -> None:
    rows = json.loads(run(interpreter(away).with_name("unisono"), "models", "--json", cwd=away))
    catalog = tomllib.loads((SOURCE / "hub" / "catalog.toml").read_text())
    assert {row["name"] for row in rows} == {*catalog["models"], *catalog["parts"]}


def test_every_model_has_its_card_and_config(away: Path) -> None:
    code = """
from importlib.resources import files
from unisono.hub import card_text, load_catalog
for model in load_catalog().models.values():
    config = files("unisono") / "weights" / model.name / "config.json"
    print(model.name, len(card_text(model)) > 100, config.is_file())
"""
    assert "ola-nano True True" in python(away, code).splitlines()
    assert "False" not in python(away, code)


@pytest.mark.slow
def test_the_installed_library_answers(away: Path) -> None:
    code = """
import unisono
reply = unisono.load("ola-nano").chat("What is the capital of France?", temperature=0)
print(reply.text)
"""
    assert "Paris" in python(away, code)
