"""Features that an encoder need not make, and how an encoder that does not learn makes its own.

Features stand between an encoder and its connector. Those of a frozen encoder never change, so
training keeps them and hands them in; which, and where they are kept, is not known here.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

Kind = Literal["audio", "vision"]


class KeepFeatures(Protocol):
    """Told what an encoder made of a medium."""

    def __call__(self, kind: Kind, number: int, features: Tensor) -> None:
        """Of medium `number` among those of its kind that were not known."""


@dataclass(frozen=True)
class Known:
    """What is known of the media of one kind.

    Attributes:
        kind: whose encoder it is.
        which: [media], bool; None if nothing was looked up.
        features: [chunks or patches, …] of the known media, one after the other.
        keep: told the features of the others.
    """

    kind: Kind
    which: Tensor | None = None
    features: Tensor | None = None
    keep: KeepFeatures | None = None


def completed(known: Known, sizes: Sequence[int], encode: Callable[[int, slice], Tensor]) -> Tensor:
    """The features of all media: the known ones, and between them those of the others.

    The others are encoded one by one: in company, the last bits of a medium's features depend on
    the company, and a run that finds them kept would differ from one that does not.

    Args:
        known: with `which`.
        sizes: chunks or patches of each medium.
        encode: a medium's index, and where its chunks or patches are among those of the media
            that are not known -> its features.

    Raises:
        ValueError: the known features are not as many as the known media have.
    """
    flags = [] if known.which is None else known.which.tolist()
    lengths = [size for size, is_known in zip(sizes, flags, strict=True) if is_known]
    given = 0 if known.features is None else len(known.features)
    if sum(lengths) != given:
        raise ValueError(f"{known.kind}_features must be {sum(lengths)}, but are {given} instead")
    ready = iter(() if known.features is None else torch.split(known.features, lengths))
    parts, start, number = [], 0, 0
    for index, (size, is_known) in enumerate(zip(sizes, flags, strict=True)):
        if is_known:
            parts.append(next(ready))
            continue
        parts.append(encode(index, slice(start, start + size)))
        if known.keep is not None:
            known.keep(known.kind, number, parts[-1].detach())
        start, number = start + size, number + 1
    return torch.cat(parts)


@contextmanager
def as_it_serves(encoder: nn.Module) -> Iterator[None]:
    """A frozen encoder works as in serving, without gradients and dropout; another as it is."""
    if any(parameter.requires_grad for parameter in encoder.parameters()):
        yield
        return
    training = [module for module in encoder.modules() if module.training]
    encoder.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module in training:
            module.training = True
