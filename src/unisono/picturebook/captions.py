"""What may be said of a drawing."""

import random

from unisono.picturebook.drawing import Drawing

_FORMS = (
    *("{}", "{}", "{}", "a {}", "the {}", "a picture of a {}", "a drawing of a {}"),
    *("an image of a {}", "there is a {}", "this is a {}"),
)
_VOWELS = frozenset("aeio")
_OTHER_LANGUAGE = 0.2
_WITH_KEYWORDS = 0.2


def drawn_caption(drawing: Drawing, random_: random.Random) -> tuple[str, str]:
    """A caption to learn, and its language: mostly English, in varying forms."""
    if drawing.captions and random_.random() < _OTHER_LANGUAGE:
        language = random_.choice(sorted(drawing.captions))
        return drawing.captions[language], language
    text = random_.choice(_FORMS).format(drawing.concept)
    if drawing.keywords and random_.random() < _WITH_KEYWORDS:
        words = random_.sample(drawing.keywords, min(2, len(drawing.keywords)))
        text = f"{text}, {', '.join(words)}"
    return with_article(text), "en"


def with_article(text: str) -> str:
    """A text with "an" for "a" before a vowel's letter; good enough for captions."""
    words = text.split(" ")
    pairs = zip(words, [*words[1:], ""], strict=True)
    return " ".join("an" if word == "a" and after[:1] in _VOWELS else word for word, after in pairs)
