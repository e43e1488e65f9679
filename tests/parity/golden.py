"""Tensors of the official implementations: read, compared, and counted.

A parity test asks for every tensor it uses by name, `read` for an input and `check` for an
expected output; test_every_tensor.py then fails on names that nobody asked for. Sizes come
from the set's JSON files, never from a test.
"""

import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

LEFT_OUT = "left_out.json"
STREAMED = "from the waveform"
TOLERANCES: dict[str, tuple[float, float]] = {
    "exact": (0.0, 0.0),
    "default": (2e-4, 1e-4),
    "mel": (1e-4, 0.0),
    "fbank": (1e-3, 0.0),
    STREAMED: (1e-3, 1e-4),
    "onepeace": (1e-4, 1e-4),
    "normalised": (1e-5, 0.0),
    "maps": (2e-4, 1e-4),
    "masks": (3e-4, 1e-4),
    "loss": (0.0, 1e-5),
}
"""Quantity -> (absolute, relative), from the set's README."""


class GoldenFile:
    """One safetensors file of a set; remembers which names were asked for."""

    def __init__(self, path: Path, left_out: tuple[str, ...] = ()) -> None:
        """Open a file; asking for a name that begins like one of `left_out` skips the test."""
        self.path = path
        self.left_out = left_out
        self._file = safe_open(path, framework="pt")
        self.names = tuple(self._file.keys())
        self.asked: set[str] = set()

    def __contains__(self, name: str) -> bool:
        return name in self.names

    def read(self, name: str) -> Tensor:
        """A tensor as stored."""
        if name not in self.names and name.startswith(self.left_out):
            pytest.skip(f"{name} is left out of this set")
        self.asked.add(name)
        return self._file.get_tensor(name)

    def under(self, prefix: str) -> dict[str, Tensor]:
        """All tensors whose name begins with `prefix`, by the rest of their name."""
        return {n[len(prefix) :]: self.read(n) for n in self.names if n.startswith(prefix)}

    def check(self, name: str, actual: Tensor, quantity: str = "default") -> None:
        """Compare with the expected tensor; shapes and kinds must agree too."""
        expected = self.read(name)
        absolute, relative = TOLERANCES[quantity]
        if not expected.is_floating_point():
            assert not actual.is_floating_point(), name
            actual, expected = actual.to(torch.int64), expected.to(torch.int64)
        torch.testing.assert_close(
            actual.detach().cpu().to(expected.dtype),
            expected,
            atol=absolute,
            rtol=relative,
            msg=lambda text: f"{name}: {text}",
        )

    def check_gradient(self, name: str, actual: Tensor) -> None:
        """Compare a gradient: within 1e-4 of its largest element."""
        expected = self.read(name)
        scale = float(expected.abs().max())
        torch.testing.assert_close(actual, expected, atol=1e-4 * scale, rtol=0.0)

    @property
    def unchecked(self) -> list[str]:
        """Names nobody asked for, sorted."""
        return sorted(set(self.names) - self.asked)


class Golden:
    """A folder of golden files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files: dict[str, GoldenFile] = {}

    def file(self, name: str) -> GoldenFile:
        """A safetensors file of the set by its stem; the same object every time."""
        if name not in self._files:
            path = self.folder / f"{name}.safetensors"
            left_out = self.left_out.get(name, [])
            if not path.exists() and left_out == [""]:
                pytest.skip(f"{path.name} is left out of this set")
            self._files[name] = GoldenFile(path, tuple(left_out))
        return self._files[name]

    @cached_property
    def left_out(self) -> dict[str, list[str]]:
        """File stem -> beginnings of names that a trimmed set does not have (see trim.py)."""
        path = self.folder / LEFT_OUT
        return json.loads(path.read_text()) if path.exists() else {}

    def facts(self, name: str) -> Mapping[str, Any]:
        """A JSON file of the set by its stem."""
        path = self.folder / f"{name}.json"
        if not path.exists() and self.left_out.get(name) == [""]:
            pytest.skip(f"{path.name} is left out of this set")
        return json.loads(path.read_text())

    @cached_property
    def stems(self) -> tuple[str, ...]:
        """The stems of all safetensors files."""
        return tuple(sorted(path.stem for path in self.folder.glob("*.safetensors")))
