"""Items of text, pictures, sounds and video -> vectors that can be compared.

Knows what an item is made of, batches and fusion; what a picture or a sound becomes is the
processor's affair, what stands in a file `media`'s.

Shapes: N items, D width of the embeddings, F frames of a video.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from unisono.allocator import keep_memory
from unisono.errors import ConversationError, UnisonoError, UnsupportedModalityError
from unisono.media import SAMPLE_RATE_HZ, load_audio, load_image, load_video
from unisono.models import OnePeaceModel, OnePeaceProcessor
from unisono.models.onepeace.image import PATCH_PX
from unisono.runtime.batches import TOKENS_AT_ONCE, token_batches

Vector = NDArray[np.float32]
Item = Mapping[str, Any]
"""What one vector stands for: kind -> source; kinds are "text", "image", "audio", "video"."""

KINDS = ("text", "image", "audio", "video")

_WINDOW = 8
"""Batches' worth of items opened at a time: enough to sort by length, little enough to hold."""


@dataclass(frozen=True)
class Embedded:
    """What became of one item.

    Attributes:
        index: of the item, from 0.
        vector: float32 [D] of length 1; None when it failed.
        error: why it failed.
    """

    index: int
    vector: Vector | None = None
    error: UnisonoError | None = None


@dataclass
class _Opened:
    """An item with its media decoded: what has to be embedded for it, by modality."""

    pieces: list[tuple[str, Any]] = field(default_factory=list)
    kinds: list[tuple[str, list[slice]]] = field(default_factory=list)  # kind -> runs of pieces
    error: UnisonoError | None = None


class Embedder:
    """A representation model: `embed` makes vectors whose dot products are similarities.

    Attributes:
        name: for messages.
        fingerprint: tells this model and precision from others.
        width: D.
        video_frames: frames looked at in a video, evenly spaced.
    """

    def __init__(
        self,
        model: OnePeaceModel,
        processor: OnePeaceProcessor,
        *,
        name: str = "",
        fingerprint: str = "",
        video_frames: int = 8,
    ) -> None:
        self.model = model.eval()
        self.processor = processor
        if model.device.type == "cpu":
            keep_memory()
        self.name = name
        self.fingerprint = fingerprint or name
        self.width = int(model.config.hidden_size)
        self.video_frames = video_frames

    def embed(
        self,
        items: Iterable[Item] | None = None,
        *,
        weights: Mapping[str, float] | None = None,
        batch_size: int = 16,
        **sources: Any,
    ) -> Vector:
        """Embed items, or sources of one kind.

        An item of several kinds is fused: the mean of the normalised embeddings of its kinds,
        normalised again (ONE-PEACE, section 4.5, retrieves pictures by sound and text so). A
        video is the mean of its frames, fused with its sound if it has any.

        Args:
            items: mappings such as {"audio": "bark.ogg", "text": "in the snow"}.
            weights: kind -> weight in the mean; 1 for kinds not named.
            batch_size: sources of one modality that pass the encoder together.
            **sources: in place of `items`, one of text, image, audio, video: a source or a list.

        Returns:
            float32 [N, D], rows of length 1, in the order given.

        Raises:
            ConversationError: neither or both are given, or an item has no or unknown kinds.
            MediaError: a medium cannot be opened.
            UnsupportedModalityError: the model has no adapter for a kind.
        """
        listed = _items(items, sources)
        vectors = np.empty((len(listed), self.width), dtype=np.float32)
        for embedded in self.embed_each(listed, weights=weights, batch_size=batch_size):
            if embedded.vector is None:
                raise embedded.error or RuntimeError("an item has neither vector nor error")
            vectors[embedded.index] = embedded.vector
        return vectors

    def embed_each(
        self,
        items: Iterable[Item],
        *,
        weights: Mapping[str, float] | None = None,
        batch_size: int = 16,
    ) -> Iterator[Embedded]:
        """As `embed`, one result an item as soon as it is known, in order; errors are results."""
        numbered, window = iter(enumerate(items)), _WINDOW * batch_size
        while batch := list(islice(numbered, window)):
            opened = [self._open(item) for _, item in batch]
            pieces = [piece for one in opened for piece in one.pieces]
            vectors = iter(self._embed_pieces(pieces, batch_size))
            for (index, _), one in zip(batch, opened, strict=True):
                own = np.array(list(islice(vectors, len(one.pieces))))
                if one.error is not None:
                    yield Embedded(index, error=one.error)
                else:
                    yield Embedded(index, _fused(one.kinds, own, weights or {}))

    def _open(self, item: Item) -> _Opened:
        opened = _Opened()
        try:
            _check_kinds(item)
            for kind in (kind for kind in KINDS if kind in item):
                runs = []
                for run in self._pieces(kind, item[kind]):
                    runs.append(slice(len(opened.pieces), len(opened.pieces) + len(run)))
                    opened.pieces += run
                opened.kinds.append((kind, runs))
        except UnisonoError as error:
            return _Opened(error=error)
        return opened

    def _pieces(self, kind: str, source: Any) -> list[list[tuple[str, Any]]]:
        """(modality, content) of all that has to be embedded for one source, in runs.

        The embeddings of a run are averaged, and so are the runs then: the frames of a video
        are one, its sound another.
        """
        self._check_adapter("image" if kind == "video" else kind)
        if kind == "text":
            return [[("text", source)]]
        if kind == "image":
            return [[("image", load_image(source))]]
        if kind == "audio":
            return [[("audio", load_audio(source))]]
        hears = "audio" in self.model.config.modalities
        video = load_video(source, frames=self.video_frames, with_audio=hears)
        frames = [("image", frame) for frame in video.frames]
        return [frames] if video.audio is None else [frames, [("audio", video.audio)]]

    def _check_adapter(self, modality: str) -> None:
        if modality not in self.model.config.modalities:
            raise UnsupportedModalityError(
                f"the model {self.name!r} has no adapter for {modality}, only for "
                f"{', '.join(self.model.config.modalities)}"
            )

    def _embed_pieces(self, pieces: Sequence[tuple[str, Any]], batch_size: int) -> Vector:
        """[pieces, D]."""
        vectors = np.empty((len(pieces), self.width), dtype=np.float32)
        for modality in {modality for modality, _ in pieces}:
            places = [i for i, (kind, _) in enumerate(pieces) if kind == modality]
            lengths = [self._tokens(modality, pieces[place][1]) for place in places]
            most = TOKENS_AT_ONCE if self.model.device.type == "cpu" else batch_size * max(lengths)
            for batch in token_batches(lengths, batch_size, most):
                chosen = [places[i] for i in batch]
                vectors[chosen] = self._embed_batch(modality, [pieces[i][1] for i in chosen])
        return vectors

    def _tokens(self, modality: str, content: Any) -> int:
        """About how many tokens the model makes of a piece; at least 1."""
        processor = self.processor
        if modality == "text":
            return min(len(content.encode()) // 4, processor.max_text_tokens) + 2
        if modality == "image":
            return ((processor.image_size or 0) // PATCH_PX) ** 2 + 1
        longest = round(processor.max_audio_seconds * SAMPLE_RATE_HZ)
        return processor.frames(max(SAMPLE_RATE_HZ, min(len(content), longest))) + 1

    @torch.inference_mode()
    def _embed_batch(self, modality: str, contents: list[Any]) -> Vector:
        name = "images" if modality == "image" else modality
        inputs = self.processor(**{name: contents})
        device, dtype = self.model.device, self.model.dtype
        moved = {
            name: tensor.to(device, dtype if tensor.is_floating_point() else None)
            for name, tensor in inputs.items()
        }
        embeddings = self.model(**moved).embeddings[modality].float().cpu().numpy()
        return _normalised(embeddings)


def _items(items: Iterable[Item] | None, sources: Mapping[str, Any]) -> list[Item]:
    given = {kind: source for kind, source in sources.items() if source is not None}
    if (items is None) == (len(given) == 0) or len(given) > 1:
        raise ConversationError(
            "embed takes either items or sources of one kind; for items of several kinds write "
            'embed([{"audio": …, "text": …}])'
        )
    if items is not None:
        return [items] if isinstance(items, Mapping) else list(items)
    ((kind, source),) = given.items()
    listed = source if isinstance(source, list | tuple) else [source]
    return [{kind: one} for one in listed]


def _check_kinds(item: Item) -> None:
    if not isinstance(item, Mapping) or not item or not set(item) <= set(KINDS):
        found = ", ".join(map(str, item)) if isinstance(item, Mapping) else type(item).__name__
        raise ConversationError(
            f"an item must have some of {', '.join(KINDS)}, but has {found or 'nothing'} instead"
        )
    if "text" in item and not isinstance(item["text"], str):
        kind = type(item["text"]).__name__
        raise ConversationError(f"an item's text must be a str, but is {kind} instead")


def _fused(
    kinds: Sequence[tuple[str, list[slice]]], pieces: Vector, weights: Mapping[str, float]
) -> Vector:
    """[pieces, D] -> [D]: the weighted mean of the kinds, normalised."""
    total = np.zeros(pieces.shape[1], dtype=np.float32)
    for kind, runs in kinds:
        means = [_normalised(pieces[run].mean(axis=0)) for run in runs]
        total += weights.get(kind, 1.0) * _normalised(np.sum(means, axis=0))
    return _normalised(total)


def _normalised(vectors: Vector) -> Vector:
    """Each row divided by its length."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    normalised: Vector = (vectors / np.maximum(lengths, 1e-12)).astype(np.float32)
    return normalised
