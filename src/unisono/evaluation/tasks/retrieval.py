"""Retrieval: texts, pictures, sounds and videos found by one another, and by two together."""

import base64
import hashlib
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field, PositiveInt

from unisono.errors import BadRowError, DataError, UnisonoError
from unisono.evaluation.chance import exchange_p
from unisono.evaluation.metrics.ranking import mean_rank, median_rank, rank_vectors, recall_at
from unisono.evaluation.score import Score
from unisono.evaluation.task import Prediction, TaskSettings, counted
from unisono.manifests.row import PairRow, Row
from unisono.runtime import load_embedder
from unisono.runtime.embedder import Embedder

Kind = Literal["image", "audio", "video"]
Vectors = NDArray[np.float32]
Listed = BeforeValidator(lambda value: value.split(",") if isinstance(value, str) else value)
"""Also takes "1,5,10", as it comes from a command line."""


class Retrieval(TaskSettings):
    """Recall@k and ranks in both directions, each kind of media with the texts of its rows.

    Where rows have media of two kinds, these find each other too, and each finds the other
    together with the text (the normalised sum of both vectors: ONE-PEACE, section 4.5). Between
    media, chance@1 and the probability `p_by_chance` of so many hits by luck are given with it
    (a permutation test over groups with the same right answers, see `exchange_p`): a model that
    never saw such pairs is to be told from luck.

    Every different text is a query, and every different medium (by its path or bytes); right for
    it is whatever stands in a row with it, so a picture with five captions has five right
    answers, and a caption of two sounds two. A row that fails is left out, as query and as
    answer: the lists are shorter by it, and the report says so.

    Attributes:
        kinds: of media to look at, where a row has several.
        at: the k of recall@k.
    """

    name: ClassVar[str] = "retrieval"
    batch_size: PositiveInt = 64
    kinds: Annotated[tuple[Kind, ...], Listed, Field(min_length=1)] = ("image", "audio", "video")
    at: Annotated[tuple[PositiveInt, ...], Listed, Field(min_length=1)] = (1, 5, 10)

    def load(self, model: str) -> Embedder:
        """An embedder."""
        return load_embedder(model)

    def predict(self, model: Embedder, rows: Sequence[Row]) -> list[Prediction]:
        """Vectors of each row's text and media."""
        wanted = [self._items(row) for row in rows]
        items = [item for one in wanted if not isinstance(one, UnisonoError) for item in one]
        embedded = iter(model.embed_each(items))
        return [
            Prediction.failed(row.name, one)
            if isinstance(one, UnisonoError)
            else _prediction(row, one, [next(embedded) for _ in one])
            for row, one in zip(rows, wanted, strict=True)
        ]

    def score(self, predictions: Sequence[Prediction]) -> dict[str, Score]:
        """For each kind and direction recall@k, median and mean rank."""
        scores: dict[str, Score] = {}
        scored = counted(predictions)
        for kind in self.kinds:
            if paired := [one for one in scored if kind in one.output["media"]]:
                texts, media = _Side.of_texts(paired), _Side.of_media(paired, kind)
                scores |= self._direction(f"{kind}_to_text", media, texts)
                scores |= self._direction(f"text_to_{kind}", texts, media)
        for first, second in itertools.permutations(self.kinds, 2):
            held = [one for one in scored if {first, second} <= one.output["media"].keys()]
            if held:
                scores |= self._across(held, first, second)
        if not scores:
            raise DataError(f"no row has a text and a medium of {', '.join(self.kinds)}")
        return scores

    def _items(self, row: Row) -> "list[Mapping[str, Any]] | UnisonoError":
        """The text, then each medium; or why there are none."""
        if not isinstance(row, PairRow) or row.text is None:
            return BadRowError(f"{row.name}: the row must have a text and a medium")
        media = [
            {str(kind): getattr(row, kind)} for kind in self.kinds if getattr(row, kind) is not None
        ]
        if not media:
            return BadRowError(f"{row.name}: the row must have a medium of {', '.join(self.kinds)}")
        text: Mapping[str, Any] = {"text": row.text}
        return [text, *media]

    def _across(self, rows: Sequence[Prediction], first: Kind, second: Kind) -> dict[str, Score]:
        """One kind of media by another, alone and with the text."""
        queries, gallery = _Side.of_media(rows, first), _Side.of_media(rows, second)
        name = f"{first}_to_{second}"
        scores = self._direction(name, queries, gallery)
        right = _right(queries, gallery)
        chance = float(np.mean([len(places) for places in right])) / len(gallery.names)
        p_value = exchange_p(queries.vectors @ gallery.vectors.T, right)
        scores[f"{name}/chance@1"] = Score.of([chance])
        scores[f"{name}/p_by_chance"] = Score.of([p_value], higher_is_better=False, percent=False)
        fused = _Side.fused(rows, first)
        return scores | self._direction(f"{first}+text_to_{second}", fused, gallery)

    def _direction(self, name: str, queries: "_Side", gallery: "_Side") -> dict[str, Score]:
        ranking = rank_vectors(queries.vectors, gallery.vectors, _right(queries, gallery))
        names = queries.names
        scores = {f"{name}/recall@{k}": recall_at(ranking, k, names=names) for k in self.at}
        scores[f"{name}/median_rank"] = median_rank(ranking, names=names)
        scores[f"{name}/mean_rank"] = mean_rank(ranking, names=names)
        return scores


@dataclass(frozen=True)
class _Side:
    """The different texts, or media, of some rows.

    Attributes:
        names: of the first row each stands in.
        vectors: [different ones, D].
        of_row: for each row, which of them it has.
    """

    names: tuple[str, ...]
    vectors: Vectors
    of_row: tuple[int, ...]

    @classmethod
    def of_texts(cls, rows: Sequence[Prediction]) -> "_Side":
        return cls._of((row.name, row.output["target"], row.output["vector"]) for row in rows)

    @classmethod
    def of_media(cls, rows: Sequence[Prediction], kind: str) -> "_Side":
        media = ((row.name, row.output["media"][kind]) for row in rows)
        return cls._of((name, one["key"], one["vector"]) for name, one in media)

    @classmethod
    def fused(cls, rows: Sequence[Prediction], kind: str) -> "_Side":
        """Text and medium together, of different rows."""
        texts, media = cls.of_texts(rows), cls.of_media(rows, kind)
        pairs = list(zip(texts.of_row, media.of_row, strict=True))
        places = {pair: place for place, pair in enumerate(dict.fromkeys(pairs))}
        total = np.stack([texts.vectors[one] + media.vectors[other] for one, other in places])
        names = [rows[pairs.index(pair)].name for pair in places]
        length = np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-12)
        return cls(tuple(names), total / length, tuple(places[pair] for pair in pairs))

    @classmethod
    def _of(cls, entries: Iterable[tuple[str, str, str]]) -> "_Side":
        places: dict[str, int] = {}
        names, vectors, of_row = [], [], []
        for name, key, vector in entries:
            if key not in places:
                places[key] = len(places)
                names.append(name)
                vectors.append(_decoded(vector))
            of_row.append(places[key])
        return cls(tuple(names), np.stack(vectors), tuple(of_row))


def _right(queries: _Side, gallery: _Side) -> list[list[int]]:
    """For each query, the items that share a row with it."""
    right: list[set[int]] = [set() for _ in queries.names]
    for query, item in zip(queries.of_row, gallery.of_row, strict=True):
        right[query].add(item)
    return [sorted(items) for items in right]


def _prediction(
    row: Row, items: Sequence[Mapping[str, Any]], embedded: Sequence[Any]
) -> Prediction:
    for one in embedded:
        if one.vector is None:
            return Prediction.failed(row.name, one.error)
    vectors = [_encoded(one.vector) for one in embedded]
    media = {
        kind: {"key": _key(source), "vector": vector}
        for item, vector in zip(items[1:], vectors[1:], strict=True)
        for kind, source in item.items()
    }
    return Prediction(row.name, {"target": items[0]["text"], "vector": vectors[0], "media": media})


def _key(source: Any) -> str:
    """The same for the same medium: its path, or a digest of its content."""
    if isinstance(source, str):
        return source
    digest = hashlib.sha256()
    for part in source if isinstance(source, list | tuple) else [source]:
        data = (
            part
            if isinstance(part, bytes)
            else np.asarray(getattr(part, "samples", part)).tobytes()
        )
        digest.update(data)
    return digest.hexdigest()


def _encoded(vector: Vectors) -> str:
    """float32, little-endian, in base64: exact, and a third of its size as decimal numbers."""
    return base64.b64encode(vector.astype("<f4").tobytes()).decode()


def _decoded(text: str) -> Vectors:
    return np.frombuffer(base64.b64decode(text), dtype="<f4").astype(np.float32)
