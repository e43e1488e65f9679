"""What encoders made of media, kept for as long as there is room: a medium is encoded once.

A session reads most of its conversation from the KV cache; these are for what must be read again:
another question about the same file, or a conversation that lost its oldest turns.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from unisono.models.ola.prompt import MediaSpan

Encode = Callable[[Sequence[MediaSpan]], dict[int, list[Tensor]]]
"""Spans -> placeholder id -> embeddings [tokens, D] of each medium, in the spans' order."""

_MOST_BYTES = 256 * 2**20


class FeatureCache:
    """Embeddings of media by the digest of their content; the least recently used go first."""

    def __init__(self, most_bytes: int = _MOST_BYTES) -> None:
        self.most_bytes = most_bytes
        self._kept: OrderedDict[str, tuple[int, Tensor]] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, spans: Sequence[MediaSpan], encode: Encode) -> dict[int, Tensor]:
        """Placeholder id -> [tokens, D] of all these media; encodes those that are not kept.

        Args:
            spans: in the order of their placeholders.
            encode: called at most once, with one span for each content that is missing.
        """
        with self._lock:
            found = {s.digest: self._kept[s.digest] for s in spans if s.digest in self._kept}
        missing = {span.digest: span for span in spans if span.digest not in found}
        if missing:
            found |= _encoded(list(missing.values()), encode)
        self._keep({span.digest: found[span.digest] for span in spans})
        merged: dict[int, list[Tensor]] = {}
        for span in spans:
            kind, tokens = found[span.digest]
            merged.setdefault(kind, []).append(tokens)
        return {kind: torch.cat(tokens) for kind, tokens in merged.items()}

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._kept.clear()

    def _keep(self, used: dict[str, tuple[int, Tensor]]) -> None:
        with self._lock:
            for digest, features in used.items():
                self._kept[digest] = features
                self._kept.move_to_end(digest)
            size = sum(tokens.nbytes for _, tokens in self._kept.values())
            while size > self.most_bytes:
                _, (_, tokens) = self._kept.popitem(last=False)
                size -= tokens.nbytes


def _encoded(spans: list[MediaSpan], encode: Encode) -> dict[str, tuple[int, Tensor]]:
    by_kind: dict[type[MediaSpan], list[MediaSpan]] = {}
    for span in spans:
        by_kind.setdefault(type(span), []).append(span)
    found = {}
    for group in by_kind.values():
        ((kind, each),) = ((k, tokens) for k, tokens in encode(group).items() if tokens)
        for span, tokens in zip(group, each, strict=True):
            # A copy: a view would keep the embeddings of all media encoded with it.
            found[span.digest] = (kind, tokens.clone())
    return found
