"""What a classifier chooses from, found in its data before anything is trained."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from unisono.errors import BadRowError, RecipeError
from unisono.evaluation.metrics.labels import answer_share
from unisono.evaluation.metrics.matching import normalise_answer
from unisono.manifests import PairRow, Row
from unisono.training.goals import (
    Classification,
    Detection,
    LabelledSettings,
    Segmentation,
    VideoClassification,
)

Classes = Classification | VideoClassification


def choose_labels(
    settings: LabelledSettings, rows: Iterable[Row], published: Sequence[str] | None = None
) -> tuple[str, ...]:
    """Labels in a fixed order: those named, those published with the data, or those in its rows.

    Args:
        settings: of the objective.
        rows: all of the data, for what nobody lists; taken from only then.
        published: what the data set itself lists.

    Raises:
        RecipeError: there are none, or one stands twice.
    """
    if settings.labels is not None:
        return _checked(settings.labels)
    if isinstance(settings, Segmentation | Detection):
        return _of_dense(settings, rows, published)
    if published is not None and settings.most is None and settings.field in ("label", "labels"):
        return _checked(published)
    counts: Counter[str] = Counter()
    for row in rows:
        try:
            counts.update(target_of(row, settings))
        except BadRowError:
            continue  # it will be named when it is drawn
    if settings.most is None:
        return _checked(sorted(counts))
    # Of equal counts the first in the alphabet, whatever the order of the rows.
    ranked = sorted(counts, key=lambda label: (-counts[label], label))
    return _checked(sorted(ranked[: settings.most]))


def _of_dense(
    settings: Segmentation | Detection, rows: Iterable[Row], published: Sequence[str] | None
) -> tuple[str, ...]:
    """A map's values say nothing about the names of classes; a detector may have a single one."""
    if published is not None:
        return tuple(published)
    if isinstance(settings, Segmentation):
        raise RecipeError("objective.labels must be given: the data do not name their classes")
    lists = (row.fields.get(settings.field) for row in rows)
    objects = [one for some in lists if isinstance(some, list | tuple) for one in some]
    found = {str(one["label"]) for one in objects if isinstance(one, Mapping) and "label" in one}
    if not found:
        raise RecipeError(f"a detector needs labels, but no row has {settings.field} with any")
    return tuple(sorted(found))


def target_of(row: Row, settings: Classes) -> Mapping[str, float]:
    """The right labels of a row -> how right each is, from 0 to 1.

    People's answers are normalised, as their scoring does it.

    Raises:
        BadRowError: the field is missing, or not what the target should be.
    """
    value = _field(row, settings.field)
    if settings.target == "one":
        if not isinstance(value, str) or not value:
            raise BadRowError(f"{row.name}: {_must(settings)} a text, but is {value!r:.80} instead")
        return {value: 1.0}
    if not isinstance(value, list | tuple) or not all(isinstance(one, str) for one in value):
        raise BadRowError(f"{row.name}: {_must(settings)} texts, but is {value!r:.80} instead")
    if settings.target == "several":
        return dict.fromkeys(value, 1.0)
    answers = [normalise_answer(one) for one in value]
    return {one: answer_share(answers, one) for one in dict.fromkeys(answers) if one}


def _must(settings: Classes) -> str:
    return f"{settings.field} must be"


def _field(row: Row, name: str) -> object:
    if name == "text" and isinstance(row, PairRow):
        return row.text
    if name not in row.fields:
        raise BadRowError(f"{row.name}: there is no field {name}, which has the right answer")
    return row.fields[name]


def _checked(labels: Sequence[str]) -> tuple[str, ...]:
    if len(labels) < 2:
        raise RecipeError(f"a classifier needs two labels or more, but the data have {len(labels)}")
    if twice := [label for label, count in Counter(labels).items() if count > 1]:
        raise RecipeError(f"labels must be different, but {twice[0]!r} is there twice")
    return tuple(labels)
