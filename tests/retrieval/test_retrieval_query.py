"""A query's vector is the arithmetic it says; what cannot be asked is refused in words."""

from typing import Any

import numpy as np
import pytest
import tiny
from fake_embedder import COLOURS, FakeEmbedder
from one_thread import one_thread  # noqa: F401 -- a fixture

from unisono.errors import ConversationError, MediaNotFoundError, UnsupportedModalityError
from unisono.retrieval.query import Part, Query, embed_query
from unisono.runtime import Embedder


def plain(colour: str) -> np.ndarray:
    return np.full((8, 8, 3), COLOURS[colour], dtype=np.uint8)


def normalised(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


def test_a_query_of_one_part_is_its_vector() -> None:
    embedder = FakeEmbedder()
    for kind, source in (("text", "a red car"), ("image", plain("red"))):
        expected = embedder.embed(**{kind: source})[0]
        found = embed_query(embedder, Query.of(**{kind: source}))
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_parts_are_added_taken_away_and_weighed() -> None:
    embedder = FakeEmbedder()
    query = Query.of(
        text=["red", "car"],
        image=plain("blue"),
        minus_text="yellow",
        weights={"image": 2.5, "minus_text": 0.5},
    )
    red, car, yellow = embedder.embed(text=["red", "car", "yellow"])
    blue = embedder.embed(image=plain("blue"))[0]
    expected = normalised(red + car + 2.5 * blue - 0.5 * yellow)
    np.testing.assert_allclose(embed_query(embedder, query), expected, atol=1e-6)


def test_what_is_taken_away_is_less_alike() -> None:
    embedder = FakeEmbedder()
    without = embed_query(embedder, Query.of(text="red blue", minus_text="blue"))
    plain_query = embed_query(embedder, Query.of(text="red blue"))
    red, blue = embedder.embed(text=["red", "blue"])
    assert without @ blue < 0.3 < plain_query @ blue
    assert without @ red > plain_query @ red


def test_the_order_of_parts_does_not_matter() -> None:
    embedder = FakeEmbedder()
    parts = (Part("text", "red"), Part("image", plain("blue"), 2.0), Part("text", "car", -0.5))
    first = embed_query(embedder, Query(parts))
    np.testing.assert_allclose(first, embed_query(embedder, Query(parts[::-1])), atol=1e-6)


def test_fused_as_the_embedder_fuses() -> None:
    embedder = Embedder(*tiny.onepeace())
    item = {"text": "a dog", "image": plain("green")}
    (expected,) = embedder.embed([item], weights={"image": 2.0})
    found = embed_query(embedder, Query.of(**item, weights={"image": 2.0}))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert found @ embedder.embed(text="a dog")[0] < 0.999, "the picture must count"


@pytest.mark.parametrize(
    "sources",
    [
        {"text": "red", "minus_text": "red"},
        {"text": ["red", "blue"], "minus_text": ["blue", "red"]},
        {
            "image": plain("red"),
            "minus_image": plain("red"),
            "weights": {"image": 3, "minus_image": 3},
        },
    ],
)
def test_what_cancels_out_is_no_query(sources: dict[str, Any]) -> None:
    with pytest.raises(ConversationError, match="cancel out"):
        embed_query(FakeEmbedder(), Query.of(**sources))


@pytest.mark.parametrize(
    ("sources", "said"),
    [
        ({}, "must have a text, a picture"),
        ({"text": None, "image": []}, "must have a text, a picture"),
        ({"text": " "}, "must have words"),
        ({"text": 3}, "must have words"),
        ({"colour": "red"}, "must be one of text, image.*but is 'colour'"),
        ({"text": "a", "weights": {"text": 0}}, "weight of a query's text must be a number"),
        ({"text": "a", "weights": {"text": float("nan")}}, "other than 0, but is nan"),
        ({"text": "a", "weights": {"image": 1}}, "a weight for 'image', which the query has not"),
        ({"text": "a", "weights": {"smell": 1}}, "weight must be one of .* but is 'smell'"),
    ],
)
def test_what_cannot_be_asked(sources: dict[str, Any], said: str) -> None:
    with pytest.raises(ConversationError, match=said):
        Query.of(**sources)


def test_faults_of_media_are_told() -> None:
    with pytest.raises(ConversationError, match="must be one of .* but is 'smell'"):
        Part("smell", "x")
    with pytest.raises(MediaNotFoundError):
        embed_query(FakeEmbedder(), Query.of(image="/no/such.png"))
    with pytest.raises(UnsupportedModalityError, match="no adapter for audio"):
        embed_query(FakeEmbedder(modalities=("text", "image")), Query.of(audio="x.wav"))
