"""In which order and between which newlines the media of a turn stand: the forms of Ola's prompts.

    <image>\\nquestion                   <image>\\nUser's question in speech: <speech>\\n
    <video><speech>\\nquestion           <video>\\n<speech>\\n\\nquestion (in training)

The official code names placeholders in another order ("<speech><image>"), but fills the first
of them with the picture's embeddings and the second with the sound's; so pictures come first.
"""

from collections.abc import Callable, Sequence
from itertools import groupby

from unisono.conversation import AudioPart, MediaPart, Part, TextPart
from unisono.models.ola.config import PromptForm

SPOKEN_QUESTION = "User's question in speech: "

_NOTHING = TextPart(text="")
"""The chat template puts a newline before any text behind a medium, so also before this one."""


def arranged(
    parts: Sequence[Part], form: PromptForm, has_sound: Callable[[MediaPart], bool]
) -> tuple[Part, ...]:
    """The parts of a normalised user turn in the form the model was trained on.

    Args:
        parts: neighbouring texts are joined.
        form: `OlaConfig.prompt_form`.
        has_sound: whether there is sound in a medium.
    """
    ordered = _pictures_before_sounds(parts)
    if _is_spoken_question(ordered):
        first_sound = next(i for i, part in enumerate(ordered) if isinstance(part, AudioPart))
        ordered.insert(first_sound, TextPart(text=SPOKEN_QUESTION))
    media = [part for part in ordered if not isinstance(part, TextPart)]
    if form == "training" and any(map(has_sound, media)):
        ordered = _newline_after_each_medium(ordered)
    elif media and ordered[-1] is media[-1]:
        ordered.append(_NOTHING)
    return tuple(ordered)


def _pictures_before_sounds(parts: Sequence[Part]) -> list[Part]:
    """Sort each run of neighbouring media; texts stay where they are."""
    ordered: list[Part] = []
    for _, run in groupby(parts, key=lambda part: isinstance(part, TextPart)):
        ordered += sorted(run, key=lambda part: isinstance(part, AudioPart))
    return ordered


def _is_spoken_question(parts: Sequence[Part]) -> bool:
    """Pictures and one sound, but no text: the sound asks about the pictures."""
    texts = any(isinstance(part, TextPart) for part in parts)
    sounds = sum(isinstance(part, AudioPart) for part in parts)
    return not texts and sounds == 1 and len(parts) > 1


def _newline_after_each_medium(parts: Sequence[Part]) -> list[Part]:
    apart: list[Part] = []
    for part in parts:
        after_medium = bool(apart) and apart[-1] is _NOTHING
        if isinstance(part, TextPart):
            apart.append(TextPart(text=f"\n{part.text}") if after_medium else part)
        else:
            apart += [part, _NOTHING]
    return apart
