"""Zero-shot classification: which of some labels an item is, by embeddings alone.

A label is the mean of the embeddings of several sentences that say it (the prompt ensemble of
CLIP, Radford et al. 2021, section 3.1.4), and the probabilities are the softmax of the cosine
similarities times the model's own logit scale, as in its contrastive training.

Shapes: N items, L labels, T templates of a modality, D width of the embeddings.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unisono.errors import ConversationError, UnisonoError
from unisono.runtime.embedder import KINDS, Embedder, Item, Vector

Probabilities = NDArray[np.float32]

TEMPLATES: Mapping[str, tuple[str, ...]] = {
    "image": ("{}", "a {}", "a picture of {}", "a picture of a {}", "this is a {}"),
    "audio": ("{}", "a {}", "the sound of {}", "the sound of a {}", "this is a sound of {}"),
    "video": ("{}", "a {}", "a video of {}", "a video of a {}", "this is a video of {}"),
    "text": ("{}", "a {}", "this is about {}", "a text about {}"),
}
"""What is said of a label, by the kind of item it is compared with; "{}" is the label."""

_HOLE = "{}"


@dataclass(frozen=True)
class Classified:
    """What became of one item.

    Attributes:
        index: of the item, from 0.
        probabilities: float32 [L], with sum 1; None when it failed.
        error: why it failed.
    """

    index: int
    probabilities: Probabilities | None = None
    error: UnisonoError | None = None


class Classifier:
    """Labels to choose from; their embeddings are made once for each kind of item.

    Attributes:
        labels: L of them, different.
        logit_scale: factor of the cosine similarities; higher is more certain.
    """

    def __init__(
        self,
        embedder: Embedder,
        labels: Sequence[str],
        *,
        templates: Mapping[str, Sequence[str]] | None = None,
        logit_scale: float | None = None,
    ) -> None:
        """Take labels.

        Args:
            embedder: makes the vectors.
            labels: at least one; "dog" or "dogs" as well as "a dog playing in the snow".
            templates: kind -> sentences with "{}", in place of those of `TEMPLATES`.
            logit_scale: by default the model's own.

        Raises:
            ConversationError: there are no labels, empty or equal ones, or bad templates.
        """
        self.labels = _checked_labels(labels)
        self.logit_scale = embedder.model.scale().item() if logit_scale is None else logit_scale
        self._embedder = embedder
        self._templates = {**TEMPLATES, **_checked_templates(templates or {})}
        self._of_kind: dict[str, Vector] = {}

    def probabilities(self, items: Iterable[Item], *, batch_size: int = 16) -> Probabilities:
        """Probabilities [N, L] of items as `Embedder.embed` takes them; rows have sum 1.

        Raises:
            ConversationError: an item has no or unknown kinds.
            MediaError: a medium cannot be opened.
            UnsupportedModalityError: the model has no adapter for a kind.
        """
        rows = []
        for one in self.each(items, batch_size=batch_size):
            if one.probabilities is None:
                raise one.error or RuntimeError("an item has neither probabilities nor error")
            rows.append(one.probabilities)
        return np.array(rows, dtype=np.float32).reshape(-1, len(self.labels))

    def each(self, items: Iterable[Item], *, batch_size: int = 16) -> Iterator[Classified]:
        """As `probabilities`, one result an item as soon as it is known; errors are results."""
        listed = list(items)
        embedded = self._embedder.embed_each(listed, batch_size=batch_size)
        for item, one in zip(listed, embedded, strict=True):
            if one.vector is None:
                yield Classified(one.index, error=one.error)
            else:
                yield Classified(one.index, self.of_vector(one.vector, item))

    def of_vector(self, vector: Vector, kinds: Collection[str]) -> Probabilities:
        """Probabilities [L] of an item of these kinds by its embedding [D]."""
        of_kinds = [self._labels_for(kind) for kind in KINDS if kind in kinds]
        labels = normalised(np.sum(of_kinds, axis=0))
        logits = self.logit_scale * (labels @ vector).astype(np.float64)  # [L]
        odds = np.exp(logits - logits.max())
        return np.asarray(odds / odds.sum(), dtype=np.float32)

    def _labels_for(self, kind: str) -> Vector:
        """[L, D] of length 1: each label's mean over the templates of a kind."""
        if kind not in self._of_kind:
            templates = self._templates[kind]
            said = [one.replace(_HOLE, label) for label in self.labels for one in templates]
            vectors = self._embedder.embed(text=said)  # [L * T, D]
            each = vectors.reshape(len(self.labels), len(templates), -1)
            self._of_kind[kind] = normalised(each.mean(axis=1))
        return self._of_kind[kind]


def classify(
    embedder: Embedder,
    items: Iterable[Item],
    labels: Sequence[str],
    *,
    templates: Mapping[str, Sequence[str]] | None = None,
    batch_size: int = 16,
) -> Probabilities:
    """Probabilities [N, L] that items are what labels say; see `Classifier`.

    Raises:
        ConversationError, MediaError, UnsupportedModalityError: as `Classifier` does.
    """
    classifier = Classifier(embedder, labels, templates=templates)
    return classifier.probabilities(items, batch_size=batch_size)


def normalised(vectors: Vector) -> Vector:
    """Rows [N, D] divided by their lengths; a row of zeros stays one."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-12), dtype=np.float32)


def _checked_labels(labels: Sequence[str]) -> tuple[str, ...]:
    if isinstance(labels, str) or not labels:
        raise ConversationError("labels must be a list of at least one text")
    cleaned = tuple(label.strip() for label in labels)
    if not all(cleaned):
        raise ConversationError("a label must have words, but one is empty")
    if repeated := [label for i, label in enumerate(cleaned) if label in cleaned[:i]]:
        raise ConversationError(f"labels must be different, but {repeated[0]!r} is there twice")
    return cleaned


def _checked_templates(templates: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
    for kind, listed in templates.items():
        if kind not in KINDS:
            raise ConversationError(
                f"templates must be for {', '.join(KINDS)}, but are for {kind!r} instead"
            )
        if isinstance(listed, str) or not listed or any(_HOLE not in one for one in listed):
            raise ConversationError(
                f"templates for {kind} must be a list of texts that have {_HOLE} for the label"
            )
    return {kind: tuple(listed) for kind, listed in templates.items()}
