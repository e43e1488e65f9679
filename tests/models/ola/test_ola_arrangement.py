"""Media stand in the order and between the newlines that Ola was trained with."""

import pytest

from unisono.conversation import AudioPart, ImagePart, MediaPart, Part, TextPart, VideoPart
from unisono.models.ola.arrangement import arranged
from unisono.models.ola.config import PromptForm

IMAGE, AUDIO = ImagePart(image="a.png"), AudioPart(audio="a.wav")
VIDEO, SILENT = VideoPart(video="a.mp4"), VideoPart(video="silent.mp4")
TEXT = TextPart(text="What?")


def written(parts: list[Part], form: PromptForm = "inference") -> str:
    """As a prompt of Ola is usually shown."""

    def has_sound(part: MediaPart) -> bool:
        return isinstance(part, AudioPart) or part is VIDEO

    text, after_medium = "", False
    for part in arranged(parts, form, has_sound):
        if isinstance(part, TextPart):
            text += ("\n" if after_medium else "") + part.text
        else:
            text += f"<{part.type}>"
        after_medium = not isinstance(part, TextPart)
    return text


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([TEXT], "What?"),
        ([IMAGE, TEXT], "<image>\nWhat?"),
        ([AUDIO, IMAGE, IMAGE, TEXT], "<image><image><audio>\nWhat?"),
        ([VIDEO, TEXT], "<video>\nWhat?"),
        ([AUDIO], "<audio>\n"),
        ([IMAGE, AUDIO], "<image>\nUser's question in speech: <audio>\n"),
        ([AUDIO, IMAGE], "<image>\nUser's question in speech: <audio>\n"),
        ([VIDEO, AUDIO], "<video>\nUser's question in speech: <audio>\n"),
        ([IMAGE, AUDIO, AUDIO], "<image><audio><audio>\n"),
        ([TEXT, IMAGE], "What?<image>\n"),
        ([IMAGE, TEXT, IMAGE, TEXT], "<image>\nWhat?<image>\nWhat?"),
    ],
)
def test_forms_of_inference(parts: list[Part], expected: str) -> None:
    assert written(parts) == expected


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([TEXT], "What?"),
        ([IMAGE, TEXT], "<image>\nWhat?"),
        ([SILENT, TEXT], "<video>\nWhat?"),
        ([AUDIO, TEXT], "<audio>\n\nWhat?"),
        ([AUDIO, IMAGE, TEXT], "<image>\n<audio>\n\nWhat?"),
        ([VIDEO, TEXT], "<video>\n\nWhat?"),
    ],
)
def test_forms_of_training(parts: list[Part], expected: str) -> None:
    assert written(parts, "training") == expected
