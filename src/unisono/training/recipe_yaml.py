"""YAML as recipes have it: plain values, each key once, no anchors, `5e-4` a number.

Knows nothing of what the keys mean.
"""

import re
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from unisono.errors import RecipeError

MAX_BYTES = 1_000_000

Tree = dict[str, Any]


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """`SafeLoader` that refuses what hides mistakes or makes a small file huge."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Refuse `*name`: nested ones make billions of values of some lines."""
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()
            raise yaml.constructor.ConstructorError(
                None, None, "a recipe has no aliases (*); use extends", event.start_mark
            )
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Refuse a key that stands twice: YAML would silently take the last."""
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise yaml.constructor.ConstructorError(
                    None, None, f"a key must be a word, but is {key!r}", key_node.start_mark
                )
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} stands twice", key_node.start_mark
                )
            seen.add(key)
        made: dict[Any, Any] = super().construct_mapping(node, deep=deep)
        return made


# YAML 1.1 takes 5e-4, without a point, for a word.
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?\d+(\.\d*)?[eE][-+]?\d+$"),
    list("-+0123456789"),
)


def parse(text: str, where: str) -> Any:
    """The value a text stands for.

    Raises:
        RecipeError: it is no YAML of the kind described above; begins with `where`.
    """
    if len(text.encode(errors="replace")) > MAX_BYTES:
        raise RecipeError(f"{where} must be at most {MAX_BYTES:,} bytes")
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = f", line {mark.line + 1}" if mark else ""
        raise RecipeError(f"{where}{line}: {error.problem}") from None
    except (yaml.YAMLError, ValueError) as error:
        raise RecipeError(f"{where}: {str(error).splitlines()[0]}") from None
    except RecursionError:
        raise RecipeError(f"{where} is nested too deeply") from None


def read_tree(path: Path, where: str) -> Tree:
    """The mapping in a file.

    Raises:
        RecipeError: it cannot be read, or is something else.
    """
    try:
        size = path.stat().st_size
        text = path.read_text(encoding="utf-8") if size <= MAX_BYTES else " " * (MAX_BYTES + 1)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise RecipeError(f"recipe {where} cannot be read: {reason}") from None
    tree = parse(text, where)
    if not isinstance(tree, dict):
        raise RecipeError(f"{where} must be keys with values, but is {type(tree).__name__} instead")
    return tree


def written(tree: Tree) -> str:
    """The text that `parse` reads as this tree."""
    text: str = yaml.safe_dump(tree, allow_unicode=True, sort_keys=False)
    return text
