"""A medium is encoded once, and what does not fit is forgotten, the oldest first."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from unisono.models.ola.prompt import AudioSpan, ImageSpan, MediaSpan
from unisono.runtime.features import FeatureCache

AUDIO, IMAGE = 7, 9


class Encoder:
    """Two embeddings of width 4 a medium, of a value that its content has."""

    def __init__(self) -> None:
        self.encoded: list[MediaSpan] = []

    def __call__(self, spans: Sequence[MediaSpan]) -> dict[int, list[Tensor]]:
        self.encoded += spans
        kind = AUDIO if isinstance(spans[0], AudioSpan) else IMAGE
        other = IMAGE if kind == AUDIO else AUDIO
        return {other: [], kind: [torch.full((2, 4), float(s.arrays()[0].flat[0])) for s in spans]}


def sound(value: float) -> AudioSpan:
    return AudioSpan(0, 2, np.full((1, 8), value, dtype=np.float32))


def picture(value: int) -> ImageSpan:
    return ImageSpan(0, 2, (np.full((4, 4, 3), value, dtype=np.uint8),))


def test_each_content_is_encoded_once_and_stands_where_it_was() -> None:
    cache, encoder = FeatureCache(), Encoder()
    found = cache.of([sound(1), picture(5), sound(2), sound(1)], encoder)
    assert found[AUDIO][:, 0].tolist() == [1, 1, 2, 2, 1, 1]
    assert found[IMAGE][:, 0].tolist() == [5, 5]
    assert len(encoder.encoded) == 3
    again = cache.of([sound(2), sound(3)], encoder)
    assert again[AUDIO][:, 0].tolist() == [2, 2, 3, 3]
    assert len(encoder.encoded) == 4, "only the new sound"


def test_what_does_not_fit_is_forgotten_the_oldest_first() -> None:
    a_medium = 2 * 4 * 4
    cache, encoder = FeatureCache(most_bytes=2 * a_medium), Encoder()
    for value in (1, 2, 1, 3):  # the 2 is the least recently used when the 3 comes
        cache.of([sound(value)], encoder)
    assert len(encoder.encoded) == 3
    cache.of([sound(1), sound(3)], encoder)
    assert len(encoder.encoded) == 3
    cache.of([sound(2)], encoder)
    assert len(encoder.encoded) == 4


def test_media_that_do_not_fit_at_all_are_still_encoded() -> None:
    cache, encoder = FeatureCache(most_bytes=1), Encoder()
    assert len(cache.of([sound(1), picture(2)], encoder)) == 2
    assert len(cache.of([sound(1)], encoder)[AUDIO]) == 2
