"""From a name or file to a `Recipe`: what it extends, overrides, and errors in one line."""

import difflib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from unisono.errors import RecipeError
from unisono.training.recipe import Recipe
from unisono.training.recipe_yaml import Tree, parse, read_tree

_REPLACED = frozenset({"mixture", "length"})
"""Mappings that an extending recipe gives anew: one more source or unit would not be meant."""


@dataclass(frozen=True)
class _File:
    """A recipe's file, and what people call it."""

    path: Path
    name: str


def recipe_names() -> list[str]:
    """The recipes that come with the library: "ola-7b/progressive", …"""
    root = _shipped()
    return sorted(str(p.relative_to(root).with_suffix("")) for p in root.glob("*/*.yaml"))


def read_recipe(name_or_path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read, complete and check a recipe.

    Args:
        name_or_path: one of `recipe_names`, or a YAML file.
        overrides: "dotted.key=value", the value in YAML. A stage is named by its name with "_"
            for ".", or else by its place from 0 on: "stages.1_1.optimizer.lr=1e-4".

    Raises:
        RecipeError: there is no such recipe, or it is wrong; the line says file and key.
    """
    file = _find(str(name_or_path), Path())
    tree = _extended(file, ())
    for override in overrides:
        _apply(tree, override)
    tree.setdefault("data_dir", str(file.path.parent))
    _place_tokenizer(tree)
    return _checked(tree, file.name)


def _place_tokenizer(tree: Tree) -> None:
    model = tree.get("model")
    if isinstance(model, dict) and isinstance(model.get("tokenizer"), str):
        model["tokenizer"] = model["tokenizer"].replace("{data_dir}", str(tree["data_dir"]))


def _shipped() -> Path:
    return Path(str(files("unisono") / "recipes"))


def _find(name: str, beside: Path) -> _File:
    """A file that is there, relative to a folder; else one of ours."""
    path = beside / name
    if path.suffix in (".yaml", ".yml") or path.is_file():
        return _File(path, str(path))
    if name in recipe_names():
        return _File(_shipped() / f"{name}.yaml", name)
    near = difflib.get_close_matches(name, recipe_names(), n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else "`unisono train --list` names them"
    raise RecipeError(f"there is no recipe {name!r}; {hint}")


def _extended(file: _File, above: tuple[Path, ...]) -> Tree:
    """A file's tree, laid over those that it extends."""
    path = file.path.resolve()
    if path in above:
        raise RecipeError(f"{file.name}: extends itself, by way of {above[-1].name}")
    tree = read_tree(path, file.name)
    base = tree.pop("extends", None)
    if base is None:
        return tree
    if not isinstance(base, str):
        raise RecipeError(f"{file.name}: extends must be a recipe's name, but is {base!r} instead")
    return _merged(_extended(_find(base, path.parent), (*above, path)), tree)


def _merged(base: Tree, over: Tree) -> Tree:
    """`over` wins; mappings are merged key by key (an empty one empties), stages by name."""
    merged = dict(base)
    for key, value in over.items():
        old = base.get(key)
        if key == "stages" and isinstance(old, list) and isinstance(value, list):
            merged[key] = _merged_stages(old, value)
        elif isinstance(old, dict) and isinstance(value, dict) and not _replaces(key, old, value):
            merged[key] = _merged(old, value)
        else:
            merged[key] = value
    return merged


def _replaces(key: str, old: Tree, new: Tree) -> bool:
    """An objective or nested config of another kind shares no fields with the old one."""
    another = any(kind in new and new[kind] != old.get(kind) for kind in ("kind", "model_type"))
    return another or not new or key in _REPLACED


def _merged_stages(base: list[Any], over: list[Any]) -> list[Any]:
    """Stages of a known name are changed in place; new ones follow."""
    merged = list(base)
    places = {stage.get("name"): i for i, stage in enumerate(base) if isinstance(stage, dict)}
    for stage in over:
        place = places.get(stage.get("name")) if isinstance(stage, dict) else None
        if place is None:
            merged.append(stage)
        else:
            merged[place] = _merged(merged[place], stage)
    return merged


def _apply(tree: Tree, override: str) -> None:
    """Set one value, in place."""
    key, equals, text = override.partition("=")
    steps = key.strip().split(".")
    if not equals or not all(steps):
        raise RecipeError(f"an override must be key=value, but is {override!r} instead")
    value = parse(text, f"override {key}")
    node: Any = tree
    for done, step in enumerate(steps[:-1]):
        node = _entered(node, step, ".".join(steps[: done + 1]))
        if step == "length":
            node.clear()  # another unit replaces the old one
    if not isinstance(node, dict):
        raise RecipeError(f"override {key}: {steps[-1]!r} is no key of what stands there")
    node[steps[-1]] = value


def _entered(node: Any, step: str, where: str) -> Any:
    """One step down; mappings that are not there yet are made."""
    if isinstance(node, list):
        return node[_stage_place(node, step, where)]
    if isinstance(node, dict):
        if node.get(step) is None:
            node[step] = {}
        if isinstance(node[step], dict | list):
            return node[step]
    raise RecipeError(f"override {where} leads to a single value, which has no keys")


def _stage_place(stages: list[Any], step: str, where: str) -> int:
    names = [str(stage.get("name")) for stage in stages if isinstance(stage, dict)]
    plain = [name.replace(".", "_") for name in names]
    if step in plain:
        return plain.index(step)
    if step.isdigit() and int(step) < len(stages):
        return int(step)
    raise RecipeError(f"override {where}: there is no stage {step!r} among {', '.join(names)}")


def _checked(tree: Tree, name: str) -> Recipe:
    try:
        return Recipe.model_validate(tree)
    except ValidationError as error:
        faults = error.errors(include_url=False)
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        raise RecipeError(f"{name}: {_told(dict(faults[0]), tree)}{more}") from None


def _told(fault: dict[str, Any], tree: Tree) -> str:
    """What pydantic found wrong, with the key as a user writes it."""
    place, kind = fault["loc"], fault["type"]
    where = _dotted(place, tree)
    if kind == "extra_forbidden":
        return f"{where} is no key of a recipe{_suggestion(place)}"
    if kind in _SIMPLE:
        return f"{where} {_SIMPLE[kind]}"
    if kind == "union_tag_invalid":
        context = fault["ctx"]
        return f"{where}.kind must be {context['expected_tags']}, but is {context['tag']!r} instead"
    message = fault["msg"].removeprefix("Value error, ")
    if kind == "value_error":
        return f"{where}: {message}" if where else message
    message = message.replace("Input should", "must").replace("String should", "must")
    return f"{where} {message}, but is {_short(fault['input'])} instead"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _dotted(place: Sequence[int | str], tree: Tree) -> str:
    """stages.1_1.optimizer.lr; what pydantic puts between for a union is left out."""
    steps, node = [], tree
    for step in place:
        below = _below(node, step)
        if below is None and isinstance(step, str) and step in _OBJECTIVES:
            continue
        name = below.get("name") if isinstance(step, int) and isinstance(below, dict) else None
        steps.append(str(name).replace(".", "_") if name else str(step))
        node = below
    return ".".join(steps)


def _below(node: Any, step: int | str) -> Any:
    try:
        return node[step]
    except (KeyError, IndexError, TypeError):
        return None


def _suggestion(place: Sequence[int | str]) -> str:
    """The key that was probably meant."""
    fields: Iterable[str] = Recipe.model_fields
    classes: list[type[BaseModel]] = [Recipe]
    for step in place[:-1]:
        if isinstance(step, str):
            classes = [c for one in classes for c in _classes_at(one, step)] or classes
    fields = sorted({field for one in classes for field in one.model_fields})
    near = difflib.get_close_matches(str(place[-1]), list(fields), n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(fields)}"


def _classes_at(model: type[BaseModel], step: str) -> Iterator[type[BaseModel]]:
    if step in model.model_fields:
        yield from _classes_in(model.model_fields[step].annotation)
    elif (kind := model.model_fields.get("kind")) is not None and kind.default == step:
        yield model


def _classes_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """Every settings class in a type: tuple[StageSettings, ...] -> StageSettings."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _classes_in(inner)


_SIMPLE = {
    "missing": "is missing",
    "too_short": "must not be empty",
    "union_tag_not_found": "must name its kind",
}
_OBJECTIVES = frozenset(
    {"next_token", "onepeace", "connector_ctc", "connector_cells", "audio_spectrum"}
)
"""What pydantic puts into a fault's place to say which objective it took."""
