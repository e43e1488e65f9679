"""What is looked for: words, pictures, sounds and videos, added up and taken away.

Knows the arithmetic of queries, and neither tables nor files.

Shapes: P parts, D width of the embeddings.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from unisono.errors import ConversationError
from unisono.runtime.embedder import KINDS, Embedder, Vector

MINUS = "minus_"
"""Begins the names of parts that are taken away: `minus_text`."""
NAMES = (*KINDS, *(f"{MINUS}{kind}" for kind in KINDS))

_NOTHING_LEFT = 1e-4
"""Of the parts' weights: rounding alone gives a sum of this length a direction."""


@dataclass(frozen=True)
class Part:
    """One of the things a query is made of.

    Attributes:
        kind: "text", "image", "audio" or "video".
        source: the text, or what `unisono.media` opens.
        weight: in the sum; a negative one takes away.

    Raises:
        ConversationError: it is of no such kind, without words, or has no usable weight.
    """

    kind: str
    source: Any
    weight: float = 1.0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ConversationError(
                f"a part of a query must be one of {', '.join(KINDS)}, but is {self.kind!r} instead"
            )
        if self.kind == "text" and not (isinstance(self.source, str) and self.source.strip()):
            raise ConversationError("a query's text must have words, but is empty")
        if not math.isfinite(self.weight) or self.weight == 0:
            raise ConversationError(
                f"the weight of a query's {self.kind} must be a number other than 0, "
                f"but is {self.weight:g} instead"
            )


@dataclass(frozen=True)
class Query:
    """A sum of parts.

    Raises:
        ConversationError: it has no parts.
    """

    parts: tuple[Part, ...]

    def __post_init__(self) -> None:
        if not self.parts:
            raise ConversationError("a query must have a text, a picture, a sound or a video")

    @classmethod
    def of(cls, *, weights: Mapping[str, float] | None = None, **sources: Any) -> "Query":
        """A query by the names of its parts: `Query.of(image="cat.png", minus_text="sofa")`.

        Args:
            weights: name -> weight, 1 by default; each of several sources of a name has it.
            **sources: text, image, audio, video, added, and minus_text, minus_image, …, taken
                away: a source, or a list of sources; None is passed over. (A video that is a list
                of pictures is therefore a list in a list.)

        Raises:
            ConversationError: a name is none of these, or a weight is for what is not given.
        """
        _check_names(sources, "part")
        given = {name: listed for name in NAMES if (listed := _listed(sources.get(name)))}
        weighed = dict(weights or {})
        _check_names(weighed, "weight")
        if idle := sorted(weighed.keys() - given.keys()):
            raise ConversationError(f"there is a weight for {idle[0]!r}, which the query has not")
        return cls(tuple(_parts(given, weighed)))


def embed_query(embedder: Embedder, query: Query) -> Vector:
    """The normalised sum of the parts' normalised embeddings, each times its weight.

    With equal weights that is how ONE-PEACE finds pictures by sound and text (section 4.5).

    Returns:
        float32 [D], of length 1.

    Raises:
        ConversationError: the parts cancel out.
        MediaError: a medium cannot be opened.
        UnsupportedModalityError: the model has no adapter for a kind.
    """
    vectors = embedder.embed([{part.kind: part.source} for part in query.parts])  # [P, D]
    weights = np.array([part.weight for part in query.parts])
    total = weights @ vectors.astype(np.float64)
    length = float(np.linalg.norm(total))
    if length <= _NOTHING_LEFT * float(np.abs(weights).sum()):
        raise ConversationError(
            "the parts of the query cancel out: what is taken away is all that was added"
        )
    return np.asarray(total / length, dtype=np.float32)


def _check_names(named: Mapping[str, Any], what: str) -> None:
    if unknown := sorted(named.keys() - set(NAMES)):
        raise ConversationError(
            f"a query's {what} must be one of {', '.join(NAMES)}, but is {unknown[0]!r} instead"
        )


def _listed(sources: Any) -> Sequence[Any]:
    if sources is None:
        return ()
    return sources if isinstance(sources, list) else [sources]


def _parts(given: Mapping[str, Sequence[Any]], weights: Mapping[str, float]) -> Iterator[Part]:
    for name, sources in given.items():
        sign = -1.0 if name.startswith(MINUS) else 1.0
        for source in sources:
            yield Part(name.removeprefix(MINUS), source, sign * weights.get(name, 1.0))
