"""Rows of a key table: what a parameter of an official checkpoint is called in ours.

Knows patterns only; the tables themselves stand in the `convert_*` modules.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from torch import Tensor

from unisono.errors import ModelConfigError

Transform = Callable[[Tensor], Tensor]

_FIELD = re.compile(r"\{(\w+)\}")
_FORMS = {"rest": ".+", "m": "text|image|audio", "p": "weight|bias"}
"""What a field stands for; one of another name, for a number."""


@dataclass(frozen=True)
class KeyRule:
    """One row of a key table.

    Attributes:
        official: the key there. `{n}`, or any other name in braces, stands for a number (of a
            layer, say); `{m}` for a modality, `{p}` for weight or bias, `{rest}` for one or more
            characters of any kind.
        ours: the key here, with the same fields.
        transform: what to do with the tensor on the way here; None leaves it as it is.
        inverse: what to do with it on the way back; needed wherever `transform` is given and a
            checkpoint is to be written in the official form.
        offset: the official number minus ours.
    """

    official: str
    ours: str
    transform: Transform | None = None
    inverse: Transform | None = None
    offset: int = 0

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        """`official` as an expression; a field met again must hold what it held before."""
        expression, end, seen = "", 0, set()
        for field in _FIELD.finditer(self.official):
            name = field[1]
            form = _FORMS.get(name, r"\d+")
            group = f"(?P={name})" if name in seen else f"(?P<{name}>{form})"
            expression += re.escape(self.official[end : field.start()]) + group
            seen.add(name)
            end = field.end()
        return re.compile(expression + re.escape(self.official[end:]))

    def renamed(self, key: str) -> str | None:
        """Our key for an official one; None if the row is not about it."""
        match = self._pattern.fullmatch(key)
        if match is None:
            return None
        found = match.groupdict()
        if self.offset:
            found["n"] = str(int(found["n"]) - self.offset)
        return self.ours.format(**found)


def rename(rules: Sequence[KeyRule], key: str) -> tuple[str, Transform | None] | None:
    """Our key for an official one and what to do with its tensor; None if no row is about it.

    Raises:
        ModelConfigError: several rows are about it, so that the table contradicts itself.
    """
    found = [(ours, rule) for rule in rules if (ours := rule.renamed(key)) is not None]
    if len(found) > 1:
        rows = " and ".join(rule.official for _, rule in found)
        raise ModelConfigError(f"{key} must be matched by one row of the key table, not {rows}")
    return (found[0][0], found[0][1].transform) if found else None


def reversed_rules(rules: Sequence[KeyRule]) -> tuple[KeyRule, ...]:
    """The table read from right to left: our keys -> official ones.

    Raises:
        ModelConfigError: a row has a transform but no inverse.
    """
    for rule in rules:
        if rule.transform is not None and rule.inverse is None:
            raise ModelConfigError(f"{rule.official} has no way back: its row has no inverse")
    return tuple(KeyRule(r.ours, r.official, r.inverse, r.transform, -r.offset) for r in rules)


def under(rules: Sequence[KeyRule], *, official: str, ours: str) -> tuple[KeyRule, ...]:
    """The table of a part, within a whole where its keys have these prefixes."""
    return tuple(replace(r, official=official + r.official, ours=ours + r.ours) for r in rules)
