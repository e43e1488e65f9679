"""Vectors are the model's, whatever the batch; fused items are means; errors name the item."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import recordings
import tiny
import torch
from fakes import tone
from PIL import Image

import unisono
from unisono.errors import (
    ConversationError,
    MediaNotFoundError,
    ModelConfigError,
    UnknownModelError,
    UnsupportedModalityError,
)
from unisono.runtime import Embedder, load_embedder

TEXTS = ["a dog", "the sound of rain on a tin roof at night", "blue", "two cats and a dog"]
SOUNDS = [tone(1.2), tone(2.3, hz=300), tone(0.4, hz=700)]


def picture(seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return Embedder(*tiny.onepeace())


def normalised(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


@pytest.mark.parametrize(
    "sources",
    [{"text": TEXTS}, {"audio": SOUNDS}, {"image": [picture(seed) for seed in range(4)]}],
)
@pytest.mark.parametrize("batch_size", [1, 2, 16])
def test_a_vector_does_not_depend_on_its_batch(
    embedder: Embedder, sources: dict[str, list[Any]], batch_size: int
) -> None:
    ((kind, listed),) = sources.items()
    together = embedder.embed(**sources, batch_size=batch_size)
    assert together.shape == (len(listed), embedder.width)
    assert together.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    for vector, one in zip(together, listed, strict=True):
        np.testing.assert_allclose(vector, embedder.embed(**{kind: one})[0], atol=2e-5)
    similarity = together @ together.T
    assert similarity[~np.eye(len(listed), dtype=bool)].max() < 0.9999, "they must differ"


def test_vectors_are_those_of_the_model(embedder: Embedder) -> None:
    with torch.no_grad():
        output = embedder.model(**embedder.processor(text=TEXTS[:1], audio=SOUNDS[:1]))
    for kind, source in (("text", TEXTS[0]), ("audio", SOUNDS[0])):
        expected = output.embeddings[kind][0].numpy()
        np.testing.assert_allclose(embedder.embed(**{kind: source})[0], expected, atol=1e-5)


def test_a_fused_item_is_the_mean_of_its_kinds(embedder: Embedder) -> None:
    text, sound = embedder.embed(text=TEXTS[0])[0], embedder.embed(audio=SOUNDS[0])[0]
    item = {"text": TEXTS[0], "audio": SOUNDS[0]}
    (fused,) = embedder.embed([item])
    np.testing.assert_allclose(fused, normalised(text + sound), atol=1e-5)
    (weighted,) = embedder.embed([item], weights={"audio": 3.0})
    np.testing.assert_allclose(weighted, normalised(text + 3 * sound), atol=1e-5)


def test_a_video_is_the_mean_of_its_frames_and_its_sound(embedder: Embedder) -> None:
    film = recordings.make_video((20, 120, 220), audio="aac")
    from unisono.media import load_video

    video = load_video(film, frames=embedder.video_frames)
    frames = embedder.embed(image=list(video.frames))
    sound = embedder.embed(audio=video.audio)[0]
    expected = normalised(normalised(frames.mean(axis=0)) + sound)
    np.testing.assert_allclose(embedder.embed(video=film)[0], expected, atol=1e-5)
    silent = recordings.make_video((20, 120, 220))
    np.testing.assert_allclose(
        embedder.embed(video=silent)[0], normalised(frames.mean(axis=0)), atol=1e-5
    )


def test_items_of_all_kinds_keep_their_order(embedder: Embedder) -> None:
    items = [{"image": picture()}, {"text": TEXTS[1]}, {"audio": SOUNDS[1]}, {"text": TEXTS[0]}]
    found = embedder.embed(items)
    for vector, item in zip(found, items, strict=True):
        np.testing.assert_allclose(vector, embedder.embed([item])[0], atol=2e-5)


def test_errors_are_results_of_their_items(embedder: Embedder) -> None:
    items = [{"text": "fine"}, {"image": "/no/such.png"}, {"colour": "red"}, {}, {"text": 3}]
    results = list(embedder.embed_each(items))
    assert [r.index for r in results] == list(range(5))
    assert [type(r.error) for r in results] == [
        type(None),
        MediaNotFoundError,
        ConversationError,
        ConversationError,
        ConversationError,
    ]
    with pytest.raises(MediaNotFoundError):
        embedder.embed(items)


@pytest.mark.parametrize("given", [{}, {"items": [], "text": "a"}, {"text": "a", "audio": "b"}])
def test_what_is_given_must_be_clear(embedder: Embedder, given: dict[str, Any]) -> None:
    with pytest.raises(ConversationError, match="either items or sources of one kind"):
        embedder.embed(given.pop("items", None), **given)


def test_nothing_makes_no_vectors(embedder: Embedder) -> None:
    assert embedder.embed([]).shape == (0, embedder.width)
    assert embedder.embed(text=[]).shape == (0, embedder.width)


def test_a_kind_without_an_adapter() -> None:
    deaf = Embedder(*tiny.onepeace(audio_config=None), name="deaf")
    with pytest.raises(UnsupportedModalityError, match="'deaf' has no adapter for audio, only"):
        deaf.embed(audio=SOUNDS[0])
    film = recordings.make_video((20, 120), audio="aac")
    assert deaf.embed(video=film).shape == (1, deaf.width)


def test_a_saved_model_is_loaded_by_its_folder(embedder: Embedder, tmp_path: Path) -> None:
    embedder.model.save_pretrained(tmp_path)
    embedder.processor.save_pretrained(tmp_path)
    for again in (load_embedder(tmp_path), unisono.load(tmp_path)):
        assert isinstance(again, Embedder)
        np.testing.assert_allclose(again.embed(text=TEXTS), embedder.embed(text=TEXTS), atol=1e-6)
    assert load_embedder(tmp_path).fingerprint == load_embedder(tmp_path).fingerprint
    rough = load_embedder(tmp_path, dtype=torch.bfloat16)
    assert rough.fingerprint != load_embedder(tmp_path).fingerprint
    similarity = (rough.embed(text=TEXTS) * embedder.embed(text=TEXTS)).sum(axis=1)
    assert similarity.min() > 0.98


def test_what_is_no_embedding_model(tmp_path: Path) -> None:
    with pytest.raises(UnknownModelError, match="no folder 'nothing'"):
        load_embedder("nothing")
    model, processor = tiny.ola()
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    with pytest.raises(ModelConfigError, match="type 'ola', which makes no embeddings"):
        load_embedder(tmp_path)
