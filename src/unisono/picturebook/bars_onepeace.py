"""The bars of onepeace-nano: captions find pictures, sounds their names, spoken names pictures.

Shapes: Q queries, G items of the gallery, D width of the embeddings.
"""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unisono.errors import DataError
from unisono.evaluation import Score, binomial_p
from unisono.evaluation.metrics.ranking import rank_vectors, recall_at
from unisono.evaluation.tasks import Retrieval
from unisono.manifests import PairRow, StreamedManifest, open_manifest
from unisono.picturebook.bars_report import Bar, Finding, clustered
from unisono.picturebook.drawing import Drawing, read_drawings
from unisono.picturebook.pictures import Placing, placed

Vectors = NDArray[np.float32]

UNSEEN_DRAWING = "pictures/test_unseen_drawing.jsonl"
UNSEEN_CONCEPT = "pictures/test_unseen_concept.jsonl"
SOUND_NAMES = "sounds/test_names.jsonl"
SPOKEN_NAMES = "spoken_names/test_names.jsonl"
SOUNDING = "sounding/test.jsonl"

AMONG_200, AMONG_ALL = Bar(0.60), Bar(0.20)
STAMPS = Bar(0.40)
NAMES = Bar(0.50)
TIMES_CHANCE, P_BELOW = 10, 0.001

_BATCH = 64


class Embeds(Protocol):
    """What `unisono.runtime.Embedder` does."""

    def embed(self, *, batch_size: int = 16, **sources: Any) -> Vectors:
        """Sources of one kind -> rows of length 1."""
        ...


def pictures(data: Path, model: Embeds) -> list[Finding]:
    """Pictures found by their English captions: drawings, then concepts, that never trained."""
    drawn = _english(pair_rows(data / UNSEEN_DRAWING))
    texts, images = _embedded(model, drawn)
    stamps = [
        row
        for row in _english(pair_rows(data / UNSEEN_CONCEPT))
        if row.fields["hand"] == "tuxpaint"
    ]
    captions, seen = _embedded(model, stamps)
    return [
        Finding(
            "picture",
            "picture ← caption, among 200: R@1",
            UNSEEN_DRAWING,
            recall_among(texts, images, _texts(drawn), size=200, k=1),
            AMONG_200,
            note="Expected over all galleries of one right picture and 199 with other captions.",
        ),
        Finding(
            "picture",
            f"picture ← caption, among all {len(drawn)}: R@1",
            UNSEEN_DRAWING,
            recall_of_captions(texts, images, _texts(drawn), k=1),
            AMONG_ALL,
        ),
        Finding(
            "picture",
            "picture ← caption, unseen stamps, among 120: R@5",
            UNSEEN_CONCEPT,
            recall_among(captions, seen, _texts(stamps), size=120, k=5),
            STAMPS,
        ),
    ]


def recall_of_captions(texts: Vectors, images: Vectors, said: Sequence[str], *, k: int) -> Score:
    """Recall@k of each different caption, all pictures that have it being right.

    Args:
        texts, images: [G, D], of the same rows.
        said: [G] captions.
        k: places looked at.
    """
    places: dict[str, list[int]] = {}
    for place, text in enumerate(said):
        places.setdefault(text, []).append(place)
    queries = texts[[own[0] for own in places.values()]]
    ranking = rank_vectors(queries, images, list(places.values()))
    return recall_at(ranking, k, names=list(places))


def recall_among(
    texts: Vectors, images: Vectors, said: Sequence[str], *, size: int, k: int
) -> Score:
    """Recall@k in a gallery of each row's picture and others with other captions, drawn by lot.

    Not one lot but the mean of all: with a of the W wrong pictures ahead of the right one, a
    gallery of n has it among the first k if at most k - 1 of its n - 1 wrong ones are among the a,
    which is hypergeometric. Wrong pictures that are as similar count as ahead. Rows of one caption
    are one sample.

    Args:
        texts, images: [G, D], of the same rows.
        said: [G] captions.
        size: n, of the galleries.
        k: places looked at.
    """
    names = np.asarray(said)
    hits = []
    for place, text in enumerate(texts):
        similarities = images @ text
        wrong = names != names[place]
        ahead = int(np.sum(wrong & (similarities >= similarities[place])))
        hits.append(_chance_of_fewer(k, ahead, int(wrong.sum()), size - 1))
    return clustered(Score.of(hits), said)


def _chance_of_fewer(k: int, marked: int, total: int, drawn: int) -> float:
    """P(fewer than k of the `marked` are among `drawn` of `total`), drawn without replacement."""
    drawn = min(drawn, total)
    ways = [
        math.comb(marked, i) * math.comb(total - marked, drawn - i)
        for i in range(min(k, drawn + 1))
        if drawn - i <= total - marked
    ]
    return sum(ways) / math.comb(total, drawn)


def sounds(data: Path, model: Embeds) -> list[Finding]:
    """Sounds from sources that never trained, named among the test's names."""
    rows = pair_rows(data / SOUND_NAMES)
    names = {str(row.fields["name"]): row.text for row in rows}
    texts = model.embed(text=list(names.values()), batch_size=_BATCH)
    heard = model.embed(audio=[row.audio for row in rows], batch_size=_BATCH)
    places = {name: place for place, name in enumerate(names)}
    right = [[places[row.fields["name"]]] for row in rows]
    score = recall_at(rank_vectors(heard, texts, right), 1)
    keys = [str(row.fields["source"]) for row in rows]
    what = f"sound → name among {len(names)}: right"
    kinds = sorted({str(row.fields["kind"]) for row in rows})
    elsewhere = sum(row.fields.get("unseen") == "source" for row in rows)
    note = (
        f"{elsewhere} sounds are of packages unseen; the others, of unseen recordings, registers."
    )
    return [
        Finding("sound", what, SOUND_NAMES, clustered(score, keys), NAMES, note=note),
        *(_of_kind(rows, score, kind) for kind in kinds),
    ]


def _of_kind(rows: Sequence[PairRow], score: Score, kind: str) -> Finding:
    chosen = [place for place, row in enumerate(rows) if row.fields["kind"] == kind]
    part = Score.of(score.amounts[chosen])
    keys = [str(rows[place].fields["source"]) for place in chosen]
    return Finding("sound", f"– {kind}", SOUND_NAMES, clustered(part, keys))


def spoken_names(data: Path, model: Embeds) -> list[Finding]:
    """Pictures found by names spoken, which no training ever paired."""
    rows = pair_rows(data / SPOKEN_NAMES)
    drawings = _drawings(data, {str(row.fields["drawing"]) for row in rows})
    images = model.embed(image=[shown(one) for one in drawings], batch_size=_BATCH)
    spoken = model.embed(audio=[row.audio for row in rows], batch_size=_BATCH)
    right = [
        [place for place, one in enumerate(drawings) if one.concept == row.fields["concept"]]
        for row in rows
    ]
    score = recall_at(rank_vectors(spoken, images, right), 1)
    chance = float(np.mean([len(places) for places in right])) / len(drawings)
    found = clustered(score, [str(row.fields["concept"]) for row in rows])
    # A concept is one trial, whoever says its name.
    p_value = binomial_p(float(np.sum(found.amounts / found.weights)), len(found), chance)
    return [
        Finding(
            "emergent",
            f"spoken name → picture, among {len(drawings)}: R@1",
            SPOKEN_NAMES,
            found,
            Bar(TIMES_CHANCE * chance, p_below=P_BELOW),
            p_value=p_value,
            note=f"Chance is {100 * chance:.2f} %; one-sided binomial test over concepts.",
        )
    ]


def sounding(data: Path, model: Any) -> list[Finding]:
    """Drawings of what makes a sound, found by the sound, which no training ever paired."""
    rows = pair_rows(data / SOUNDING)
    task = Retrieval(kinds=("audio", "image"), at=(1,))
    scores = task.score(task.predict(model, rows))
    drawings = len({str(row.image) for row in rows})
    note = (
        f"Chance is {100 * scores['audio_to_image/chance@1'].value:.1f} %; permutation test over "
        "things."
    )
    alone, named = (scores[f"{by}_to_image/recall@1"] for by in ("audio", "audio+text"))
    return [
        Finding(
            "sounding",
            f"sound → drawing of what makes it, among {drawings}: R@1",
            SOUNDING,
            alone,
            Bar(0.0, p_below=P_BELOW),
            p_value=scores["audio_to_image/p_by_chance"].value,
            note=note,
        ),
        Finding("sounding", "– with its name said beside it", SOUNDING, named),
    ]


def shown(drawing: Drawing) -> NDArray[np.uint8]:
    """A drawing as test pictures show it: on white, [height, width, 3]."""
    with Image.open(drawing.path) as file:
        return np.asarray(placed(file.convert("RGBA"), Placing()), dtype=np.uint8)


def pair_rows(path: Path) -> list[PairRow]:
    """The rows of a manifest of pairs.

    Raises:
        DataError: the manifest cannot be read, or has rows of another kind.
    """
    manifest = open_manifest(path)
    if isinstance(manifest, StreamedManifest):
        raise DataError(f"'{path}' must be a JSONL manifest")
    rows = [manifest[index] for index in range(len(manifest))]
    pairs = [row for row in rows if isinstance(row, PairRow)]
    if len(pairs) != len(rows) or not rows:
        raise DataError(f"'{path}' must have rows, and all of them pairs of a medium and a text")
    return pairs


def _english(rows: Iterable[PairRow]) -> list[PairRow]:
    return [row for row in rows if row.fields["language"] == "en"]


def _texts(rows: Iterable[PairRow]) -> list[str]:
    return [row.text or "" for row in rows]


def _embedded(model: Embeds, rows: Sequence[PairRow]) -> tuple[Vectors, Vectors]:
    """[G, D] of the texts and of the pictures."""
    texts = model.embed(text=_texts(rows), batch_size=_BATCH)
    return texts, model.embed(image=[row.image for row in rows], batch_size=_BATCH)


def _drawings(data: Path, names: set[str]) -> list[Drawing]:
    found = [one for one in read_drawings(data) if one.name in names]
    if len(found) != len(names):
        missing = sorted(names - {one.name for one in found})
        raise DataError(f"no drawing is called '{missing[0]}': make the step 'drawings' anew")
    return found
