"""How the lists of held-out concepts were drawn.

    python -m unisono.picturebook.splits_drawing

made them; it refuses to make them again.
"""

import re
from collections.abc import Iterable, Sequence

from unisono.picturebook.drawings import pictures
from unisono.picturebook.found import Found
from unisono.picturebook.splits import LISTS, Words, words_of
from unisono.picturebook.step import draws

UNSEEN_STAMPS = 120
UNSEEN_EMOJI = 150
MOST_LOST = 8
"""A concept is held out only if no more other drawings than this name it too."""

_STAMP_GROUPS = frozenset(
    [
        *("animals", "clothes", "food", "hobbies", "household", "medical", "plants", "seasonal"),
        *("space", "sports", "town", "vehicles"),
    ]
)
_EMOJI_GROUPS = frozenset(
    ("animals-nature", "food-drink", "travel-places", "activities", "objects")
)
_CLOCK = re.compile("o’clock|-thirty")  # as good as the same drawing


def choose(pictures: Sequence[Found]) -> dict[str, list[str]]:
    """Draw the held-out concepts: things with short names that few other pictures share.

    Returns:
        List name -> concepts, sorted.
    """
    named = _times_named(pictures)
    stamps = [one for one in pictures if one.hand == "tuxpaint" and one.group in _STAMP_GROUPS]
    emoji = [one for one in pictures if one.hand == "emojione" and one.group in _EMOJI_GROUPS]
    chosen: dict[str, list[str]] = {}
    taken: set[Words] = set()
    for name, among, count in (("stamps", stamps, UNSEEN_STAMPS), ("emoji", emoji, UNSEEN_EMOJI)):
        fit = {
            one.concept: words_of(one.concept)
            for one in among
            if len(one.concept.split()) <= 3
            and named[words_of(one.concept)] <= MOST_LOST
            and not _CLOCK.search(one.concept)
        }
        order = sorted(fit.items())
        draws("splits", name).shuffle(order)
        free = [concept for concept, words in order if words not in taken]
        chosen[name] = sorted(free[:count])
        taken |= {words_of(concept) for concept in chosen[name]}
    return chosen


class _Counts(dict[Words, int]):
    def __missing__(self, key: Words) -> int:
        return 0


def _times_named(pictures: Iterable[Found]) -> _Counts:
    """Words -> pictures that have them in their name or among their keywords, besides others."""
    counts = _Counts()
    for one in pictures:
        words = words_of(one.concept)
        spans = {words[i:j] for i in range(len(words)) for j in range(i + 1, len(words) + 1)}
        for span in (spans | {words_of(word) for word in one.keywords}) - {words}:
            counts[span] += 1
    return counts


def main() -> None:
    """Write the lists, unless they are there."""
    if any(LISTS.glob("unseen_*.txt")):
        raise SystemExit("the lists are there; training has begun with them: they never change")
    LISTS.mkdir(exist_ok=True)
    for name, concepts in choose(list(pictures())).items():
        (LISTS / f"unseen_{name}.txt").write_text("\n".join(concepts) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
