"""Probabilities are the softmax they say; the right label of what is known wins."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
from fake_embedder import COLOURS, FakeEmbedder
from fakes import tone
from one_thread import one_thread  # noqa: F401 -- a fixture

from unisono.errors import ConversationError, MediaNotFoundError
from unisono.retrieval.classify import TEMPLATES, Classifier, classify
from unisono.runtime import Embedder

LABELS = ["red", "green", "blue", "yellow"]


def plain(colour: str) -> np.ndarray:
    return np.full((8, 8, 3), COLOURS[colour], dtype=np.uint8)


def test_pictures_and_sounds_are_what_they_are() -> None:
    pictures = [{"image": plain(colour)} for colour in LABELS]
    found = classify(FakeEmbedder(), pictures, LABELS)
    assert found.shape == (4, 4)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)
    assert found.argmax(axis=1).tolist() == [0, 1, 2, 3]
    sounds = [{"audio": tone(0.3, hz=200)}, {"audio": tone(0.3, hz=2000)}]
    assert classify(FakeEmbedder(), sounds, ["high", "low"]).argmax(axis=1).tolist() == [1, 0]


def brute_force(embedder: Embedder, item: dict[str, Any], labels: list[str]) -> np.ndarray:
    """One item, one template and one label at a time."""
    vector = embedder.embed([item])[0].astype(np.float64)
    logits = []
    for label in labels:
        of_kinds = []
        for kind in item:
            said = [embedder.embed(text=t.replace("{}", label))[0] for t in TEMPLATES[kind]]
            mean = np.mean(said, axis=0)
            of_kinds.append(mean / np.linalg.norm(mean))
        total = np.sum(of_kinds, axis=0)
        logits.append(float(embedder.model.scale()) * (total / np.linalg.norm(total)) @ vector)
    odds = np.exp(logits)
    return odds / odds.sum()


@pytest.mark.parametrize("real", [False, True], ids=["fake", "tiny"])
def test_equal_to_one_at_a_time(real: bool) -> None:
    embedder = Embedder(*tiny.onepeace()) if real else FakeEmbedder()
    labels = ["red", "a blue car", "low", "Ünïcödé {0} {}"]
    items: list[dict[str, Any]] = [
        {"image": plain("red")},
        {"text": "the blue car"},
        {"audio": tone(0.3, hz=200)},
        {"image": plain("blue"), "text": "car"},
    ]
    found = classify(embedder, items, labels, batch_size=3)
    for row, item in zip(found, items, strict=True):
        np.testing.assert_allclose(row, brute_force(embedder, item, labels), atol=2e-5)
    assert np.ptp(found, axis=1).min() > 1e-4, "a model that says nothing would pass"


def test_labels_are_embedded_once_a_kind() -> None:
    embedder = FakeEmbedder()
    classifier = Classifier(embedder, LABELS)
    for _ in range(3):
        classifier.probabilities([{"image": plain("red")}, {"image": plain("blue")}])
    assert embedder.pieces["text"] == len(LABELS) * len(TEMPLATES["image"])
    classifier.probabilities([{"audio": tone(0.2)}])
    expected = len(LABELS) * (len(TEMPLATES["image"]) + len(TEMPLATES["audio"]))
    assert embedder.pieces["text"] == expected


def test_scale_and_templates_can_be_chosen() -> None:
    item = [{"image": plain("red")}]
    sure = Classifier(FakeEmbedder(), LABELS, logit_scale=50).probabilities(item)
    unsure = Classifier(FakeEmbedder(), LABELS, logit_scale=0).probabilities(item)
    assert sure[0, 0] > 0.999
    np.testing.assert_allclose(unsure, 0.25)
    # A template that calls everything blue makes the labels more alike.
    blue = Classifier(FakeEmbedder(), LABELS, templates={"image": ["blue blue {}"]})
    usual = Classifier(FakeEmbedder(), LABELS)
    assert blue.probabilities(item)[0, 0] < usual.probabilities(item)[0, 0]


def test_faults_are_results_of_their_items(tmp_path: Path) -> None:
    gone = str(tmp_path / "gone.png")
    items = [{"image": plain("red")}, {"image": gone}, {"image": plain("blue")}]
    classifier = Classifier(FakeEmbedder(), LABELS)
    good, bad, last = classifier.each(items)
    assert [one.index for one in (good, bad, last)] == [0, 1, 2]
    assert bad.probabilities is None
    assert isinstance(bad.error, MediaNotFoundError)
    assert last.probabilities is not None
    with pytest.raises(MediaNotFoundError):
        classifier.probabilities(items)
    assert classifier.probabilities([]).shape == (0, 4)


@pytest.mark.parametrize(
    ("labels", "templates", "said"),
    [
        ([], {}, "at least one text"),
        ("red", {}, "must be a list"),
        (["red", " "], {}, "one is empty"),
        (["red", "blue", "red "], {}, "'red' is there twice"),
        (["red"], {"smell": ["{}"]}, "but are for 'smell'"),
        (["red"], {"image": ["no hole"]}, "for image must be a list of texts that have {}"),
        (["red"], {"image": "{}"}, "must be a list of texts"),
        (["red"], {"image": []}, "must be a list of texts"),
    ],
)
def test_what_cannot_be_asked(labels: Any, templates: dict[str, Any], said: str) -> None:
    with pytest.raises(ConversationError, match=said):
        Classifier(FakeEmbedder(), labels, templates=templates)
