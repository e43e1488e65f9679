"""The laws of the house that can be read off the source: each is a function that lists breaches.

A breach is one line, "file: what is wrong". Knows only the syntax tree; imports nothing of the
library, so a broken module cannot hide behind an import error.
"""

import ast
import graphlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

PACKAGE = "unisono"

LAYERS: tuple[frozenset[str], ...] = tuple(
    frozenset(place.split(", "))
    for place in (
        "errors",
        "allocator",
        "media, hub",
        "conversation",
        "manifests",
        "models, speech",
        "engines",
        "runtime",
        "retrieval",
        "evaluation",
        "training",
        "picturebook, curation",
        "server",
        PACKAGE,  # the root, a facade over runtime: only the command line may look back at it
        "cli",
        "__main__",
    )
)
"""From left to right; a module imports only layers to its left, or its own."""

MAX_LINES = 400
SOURCE_SUFFIXES = frozenset({".py", ".js", ".css", ".html"})
VAGUE_NAMES = frozenset({"utils", "util", "common", "helpers", "helper", "misc"})
NEVER_AT_MODULE_LEVEL = frozenset({"torchvision", "torchaudio", "flash_attn"})

ENVIRONMENT: dict[str, frozenset[str]] = {
    "__init__.py": frozenset({"GOMP_SPINCOUNT"}),  # set for OpenMP, not read
    "allocator.py": frozenset({"MALLOC_MMAP_MAX_", "MALLOC_TRIM_THRESHOLD_"}),
    "cli/serve.py": frozenset({"_KEYS"}),  # UNISONO_API_KEYS: a command line would show them
    "hub/cache.py": frozenset({"UNISONO_CACHE"}),
    "hub/sources_npm.py": frozenset({"npm_config_registry"}),
    "hub/sources_pypi.py": frozenset({"PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL"}),
    "hub/transfer.py": frozenset({"variable"}),  # a loop over PIP_CERT and SSL_CERT_FILE
}
"""Who may look at which environment variable: where things lie, never how a model behaves."""


@dataclass(frozen=True)
class Module:
    """One Python file of the package.

    Attributes:
        path: the file, relative to the package's folder.
        name: dotted, as it is imported.
        source: its text.
    """

    path: Path
    name: str
    source: str

    @cached_property
    def tree(self) -> ast.Module:
        """The syntax tree."""
        return ast.parse(self.source, filename=str(self.path))

    @property
    def layer(self) -> str:
        """The first step below the package; the root itself is its own layer."""
        steps = self.name.split(".")
        return steps[1] if len(steps) > 1 else PACKAGE

    @property
    def package(self) -> str:
        """What a relative import starts from."""
        return self.name if self.path.name == "__init__.py" else self.name.rpartition(".")[0]


def read_package(folder: Path) -> dict[str, Module]:
    """Every module under the package's folder, by name."""
    modules = {}
    for path in sorted(folder.rglob("*.py")):
        relative = path.relative_to(folder)
        steps = relative.with_suffix("").parts
        steps = steps[:-1] if steps[-1] == "__init__" else steps
        name = ".".join((PACKAGE, *steps))
        modules[name] = Module(relative, name, path.read_text(encoding="utf-8"))
    return modules


def imported(module: Module, modules: dict[str, Module]) -> Iterator[str]:
    """Modules of the package that this one imports, wherever in the file, for types or not."""
    for node in ast.walk(module.tree):
        for name in _names(node, module):
            steps = name.split(".")
            while ".".join(steps) not in modules and len(steps) > 1:
                steps.pop()  # the last step is not a module but something in one
            if steps[0] == PACKAGE:
                yield ".".join(steps)


def _names(node: ast.AST, module: Module) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = _base(node, module)
        yield from (f"{base}.{alias.name}" for alias in node.names)
    elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
        called = ast.unparse(node.func).rpartition(".")[2]
        if called in {"import_module", "__import__"} and isinstance(node.args[0].value, str):
            yield node.args[0].value


def _base(node: ast.ImportFrom, module: Module) -> str:
    if not node.level:
        return node.module or ""
    steps = module.package.split(".")
    kept = steps[: len(steps) - node.level + 1]
    return ".".join([*kept, node.module] if node.module else kept)


def layer_breaches(modules: dict[str, Module]) -> list[str]:
    """Imports of a layer to the right, or of the other layer of the same place."""
    place = {layer: index for index, layers in enumerate(LAYERS) for layer in layers}
    breaches = [f"{m.path}: {m.layer} is not a layer" for m in _unplaced(modules, place)]
    for module in modules.values():
        for name in imported(module, modules):
            other = modules[name].layer
            if module.layer == other or not {module.layer, other} <= place.keys():
                continue
            if place[other] >= place[module.layer]:
                breaches.append(f"{module.path}: {module.layer} must not import {other} ({name})")
    return breaches


def _unplaced(modules: dict[str, Module], place: dict[str, int]) -> Iterable[Module]:
    return (module for module in modules.values() if module.layer not in place)


def cycle_breaches(modules: dict[str, Module]) -> list[str]:
    """The first ring of modules that import each other."""
    graph = {m.name: set(imported(m, modules)) - {m.name} for m in modules.values()}
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return [f"{modules[error.args[1][0]].path}: cycle {' <- '.join(error.args[1])}"]
    return []


def family_breaches(modules: dict[str, Module]) -> list[str]:
    """Model families that import each other."""
    breaches = []
    for module in modules.values():
        mine = _family(module, modules)
        for name in imported(module, modules):
            other = _family(modules[name], modules)
            if mine and other and mine != other:
                breaches.append(f"{module.path}: family {mine} must not import {other} ({name})")
    return breaches


def _family(module: Module, modules: dict[str, Module]) -> str | None:
    steps = module.name.split(".")
    family = ".".join(steps[:3])
    inside = len(steps) > 2 and steps[1] == "models"
    return steps[2] if inside and modules[family].path.name == "__init__.py" else None


def length_breaches(folder: Path) -> list[str]:
    """Source files that are too long."""
    breaches = []
    for path in sorted(folder.rglob("*")):
        if path.suffix in SOURCE_SUFFIXES:
            lines = len(path.read_text(encoding="utf-8").splitlines())
            if lines > MAX_LINES:
                breaches.append(f"{path.relative_to(folder)}: {lines} lines, not {MAX_LINES}")
    return breaches


def name_breaches(modules: dict[str, Module]) -> list[str]:
    """Modules and folders whose names say nothing."""
    return [
        f"{module.path}: the name says nothing"
        for module in modules.values()
        if VAGUE_NAMES & set(module.name.split("."))
    ]


def heavy_breaches(modules: dict[str, Module]) -> list[str]:
    """Imports at module level of packages that many installations lack."""
    return [
        f"{module.path}: imports {name} at module level"
        for module in modules.values()
        for node in _outside_functions(module.tree)
        for name in _names(node, module)
        if name.split(".")[0] in NEVER_AT_MODULE_LEVEL
    ]


def _outside_functions(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield child
            yield from _outside_functions(child)


def environment_breaches(modules: dict[str, Module]) -> list[str]:
    """Looks at environment variables that `ENVIRONMENT` does not name."""
    breaches = []
    for module in modules.values():
        allowed = ENVIRONMENT.get(module.path.as_posix(), frozenset())
        found = set(_environment_names(module.tree)) - allowed
        breaches += [f"{module.path}: looks at the environment ({name})" for name in sorted(found)]
    return breaches


def _environment_names(tree: ast.Module) -> Iterator[str]:
    """What is asked of the environment; the whole of it is "*"."""
    keyed = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _is_lookup(node.func) and node.args:
            keyed.add(node.func)
            keyed.add(getattr(node.func, "value", None))
            yield _key(node.args[0])
        elif isinstance(node, ast.Subscript) and _is_environ(node.value):
            keyed.add(node.value)
            yield _key(node.slice)
        elif _is_environ(node) and node not in keyed:
            yield "*"
        elif isinstance(node, ast.ImportFrom) and node.module == "os":
            # Renamed, it could not be followed.
            yield from (a.name for a in node.names if a.name in {"environ", "environb", "getenv"})


def _is_lookup(node: ast.AST) -> bool:
    if not isinstance(node, ast.Attribute):
        return False
    if ast.unparse(node) in {"os.getenv", "os.putenv", "os.unsetenv"}:
        return True
    return node.attr in {"get", "setdefault", "pop"} and _is_environ(node.value)


def _is_environ(node: ast.AST) -> bool:
    return isinstance(node, ast.Attribute) and ast.unparse(node) in {"os.environ", "os.environb"}


def _key(node: ast.AST) -> str:
    constant = isinstance(node, ast.Constant) and isinstance(node.value, str)
    return str(node.value) if constant else ast.unparse(node)  # type: ignore[attr-defined]
