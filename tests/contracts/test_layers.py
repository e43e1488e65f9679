"""The laws hold on our tree, and each check is seen to fail on a tree that breaks it."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import laws
import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / laws.PACKAGE
Check = Callable[[dict[str, laws.Module]], list[str]]

CHECKS: tuple[Check, ...] = (
    laws.layer_breaches,
    laws.cycle_breaches,
    laws.family_breaches,
    laws.name_breaches,
    laws.heavy_breaches,
    laws.environment_breaches,
)


def fabricate(folder: Path, files: dict[str, str]) -> dict[str, laws.Module]:
    """A package of these files, every folder with its `__init__.py`."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        (path.parent / "__init__.py").touch()
    (folder / "__init__.py").touch()
    return laws.read_package(folder)


# --- our tree ------------------------------------------------------------------------------


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_our_source_keeps_the_law(check: Check) -> None:
    assert check(laws.read_package(SOURCE)) == []


def test_our_files_are_short() -> None:
    assert laws.length_breaches(SOURCE) == []


def test_the_whole_tree_was_read() -> None:
    modules = laws.read_package(SOURCE)
    assert {"unisono", "unisono.errors", "unisono.models.ola.merge"} <= modules.keys()
    load = modules["unisono.runtime.load"]
    found = set(laws.imported(load, modules))
    assert {"unisono.hub", "unisono.engines.gguf_export", "unisono.errors"} <= found


def test_every_allowed_look_at_the_environment_is_still_needed() -> None:
    modules = {m.path.as_posix(): m for m in laws.read_package(SOURCE).values()}
    for path, names in laws.ENVIRONMENT.items():
        assert names <= set(laws._environment_names(modules[path].tree)), path


# --- trees that break a law ----------------------------------------------------------------

BAD: list[tuple[Check, dict[str, str], str]] = [
    (
        laws.layer_breaches,
        {"media/image.py": "from unisono.runtime import load", "runtime/load.py": ""},
        "media must not import runtime",
    ),
    (
        laws.layer_breaches,
        {"hub/cache.py": "def f():\n    import unisono.media.image", "media/image.py": ""},
        "hub must not import media (unisono.media.image)",
    ),
    (
        laws.layer_breaches,
        {
            "errors.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n"
            "    from .speech import voice",
            "speech/voice.py": "",
        },
        "errors must not import speech (unisono.speech.voice)",
    ),
    (
        laws.layer_breaches,
        {"engines/torch_engine.py": "from .. import load"},
        "engines must not import unisono",
    ),
    (
        laws.layer_breaches,
        {
            "hub/lazy.py": "from importlib import import_module\nimport_module('unisono.cli')",
            "cli/main.py": "",
        },
        "hub must not import cli",
    ),
    (laws.layer_breaches, {"extras/one.py": ""}, "extras is not a layer"),
    (
        laws.cycle_breaches,
        {
            "media/a.py": "from unisono.media.b import x",
            "media/b.py": "def f():\n    from unisono.media import a",
        },
        "cycle",
    ),
    (
        laws.cycle_breaches,
        {"media/__init__.py": "from .a import x", "media/a.py": "from unisono.media import y"},
        "cycle",
    ),
    (
        laws.family_breaches,
        {
            "models/ola/model.py": "from unisono.models.onepeace import model",
            "models/onepeace/model.py": "",
        },
        "family ola must not import onepeace",
    ),
    (laws.name_breaches, {"media/utils.py": ""}, "utils"),
    (laws.name_breaches, {"misc/image.py": ""}, "misc"),
    (laws.heavy_breaches, {"media/image.py": "import torchvision.io"}, "torchvision"),
    (
        laws.heavy_breaches,
        {"media/a.py": "try:\n    from flash_attn import f\nexcept ImportError:\n    pass"},
        "flash_attn",
    ),
    (laws.heavy_breaches, {"media/a.py": "class A:\n    import torchaudio"}, "torchaudio"),
    (laws.environment_breaches, {"media/a.py": "import os\nos.environ['FAST']"}, "(FAST)"),
    (laws.environment_breaches, {"media/a.py": "import os\nos.getenv('FAST')"}, "(FAST)"),
    (laws.environment_breaches, {"media/a.py": "import os\nos.environ.get(name)"}, "(name)"),
    (laws.environment_breaches, {"media/a.py": "import os\ndict(os.environ)"}, "(*)"),
    (laws.environment_breaches, {"media/a.py": "from os import getenv as g"}, "(getenv)"),
    (laws.environment_breaches, {"hub/cache.py": "import os\nos.environ['HOME']"}, "(HOME)"),
]


@pytest.mark.parametrize(("check", "files", "said"), BAD)
def test_a_broken_law_is_seen(
    check: Check, files: dict[str, str], said: str, tmp_path: Path
) -> None:
    breaches = check(fabricate(tmp_path, files))
    assert breaches
    assert all(said in breach for breach in breaches)
    assert {breach.split(":")[0] for breach in breaches} & {*files}


def test_what_the_laws_allow_is_not_a_breach(tmp_path: Path) -> None:
    modules = fabricate(
        tmp_path,
        {
            "errors.py": "",
            "media/__init__.py": "from unisono.media.image import load",
            "media/image.py": "from ..errors import E\ndef load():\n    import torchvision",
            "models/__init__.py": "from unisono.models.ola import model",
            "models/ola/model.py": "from unisono.media import load",
            "cli/main.py": "import unisono",
            "hub/cache.py": "import os\nos.environ.get('UNISONO_CACHE')",
        },
    )
    assert [check(modules) for check in CHECKS] == [[] for _ in CHECKS]


def test_a_long_file_is_seen(tmp_path: Path) -> None:
    (tmp_path / "short.py").write_text("x\n" * laws.MAX_LINES)
    assert laws.length_breaches(tmp_path) == []
    (tmp_path / "page.js").write_text("x\n" * (laws.MAX_LINES + 1))
    assert laws.length_breaches(tmp_path) == ["page.js: 401 lines, not 400"]


# --- what importing costs ------------------------------------------------------------------


def heavy_after(code: str, folder: Path) -> set[str]:
    """Which of torch and transformers a fresh interpreter has loaded after running the code."""
    report = f"{code}\nimport json, sys\nprint(json.dumps([*sys.modules]))"
    done = subprocess.run(
        [sys.executable, "-c", report], capture_output=True, text=True, check=True, cwd=folder
    )
    return {name.split(".")[0] for name in json.loads(done.stdout)} & {"torch", "transformers"}


def test_importing_unisono_and_its_command_line_is_light() -> None:
    assert heavy_after("import unisono, unisono.cli", SOURCE.parent) == set()


def test_a_heavy_import_is_seen(tmp_path: Path) -> None:
    fabricate(tmp_path / "unisono", {"cli/main.py": "", "__init__.py": "import torch.nn"})
    fabricate(tmp_path / "torch", {"nn.py": ""})  # ours is found first
    assert heavy_after("import unisono.cli", tmp_path) == {"torch"}
