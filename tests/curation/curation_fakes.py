"""A listener, a judge of texts and a model to ask, all without weights; other processes can too."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from fake_embedder import FakeEmbedder

from unisono.curation.chat import Chat
from unisono.curation.check import Check
from unisono.curation.duplicates import Duplicates
from unisono.curation.embed import Embed
from unisono.curation.export import Export
from unisono.curation.hear import Hear
from unisono.curation.label import Classifiers, Describe
from unisono.curation.loudness import STEP_S, Silence, levels
from unisono.curation.plan import Plan
from unisono.curation.relevance import Relevance, Rival
from unisono.curation.split import Split
from unisono.curation.stage import Model
from unisono.curation.subtitles import Clean
from unisono.curation.templates import Templates
from unisono.curation.text_filters import Language, Perplexity, Repetition
from unisono.curation.writers import Write
from unisono.media import load_image
from unisono.speech import Transcript, Word

SPOKEN = {
    300: "A red ball lies on a red table.",
    350: "The blue sky is very blue today.",
    400: "and then and then and then and then and then",
    500: "Thank you all for coming here.",
    600: "Der rote Ball liegt auf dem Tisch.",
    700: "xkcd qwrt zzgh plmk bvcx.",
    800: "The price of oil has gone up again.",
}
"""Pitch -> what it says; other tones say nothing."""

GHOST_HZ, GERMAN_HZ = 500, 600
COLOURS = ("red", "green", "blue", "yellow", "black", "white")


class TalkingTones:
    """A `Listener` to whom pitches are sentences; one of them is heard where it is silent."""

    def listen(self, waveform: np.ndarray, **_: Any) -> Transcript:
        strengths = np.abs(np.fft.rfft(waveform))
        hz = np.argmax(strengths) * 16_000 / len(waveform)
        nearest = min(SPOKEN, key=lambda one: abs(one - hz))
        duration_s = len(waveform) / 16_000
        if abs(nearest - hz) > 20:
            return Transcript("", (), "", 0.0, duration_s)
        loud = [step for step, level in enumerate(levels(waveform)) if level > -40]
        start_s, end_s = loud[0] * STEP_S, (loud[-1] + 1) * STEP_S
        if nearest == GHOST_HZ:
            start_s, end_s = end_s + 0.2, duration_s
        texts = SPOKEN[nearest].split()
        edges = np.linspace(start_s, end_s, len(texts) + 1)
        words = tuple(
            Word(text, float(edges[i]), float(edges[i + 1]), 0.9) for i, text in enumerate(texts)
        )
        language = "de" if nearest == GERMAN_HZ else "en"
        return Transcript(SPOKEN[nearest], words, language, 0.95, duration_s)


class Vowels:
    """A `Likelihood` that thinks words need vowels."""

    def nll(self, text: str) -> tuple[float, int]:
        words = text.lower().split()
        return sum(3.0 if set("aeiou") & set(word) else 12.0 for word in words), len(words)


class Guesser:
    """A `Chat` that sees colours, hears nothing, and always says yes."""

    senses = frozenset({"picture", "sound"})

    def ask(self, text: str, *, frames: Sequence[bytes] = (), sound: bytes | None = None) -> str:
        if "last word" in text or "With which word" in text:
            return "Today."  # a guess
        if frames and "be seen" in text and "said" not in text:
            middle = np.asarray(load_image(frames[0])).reshape(-1, 3).mean(axis=0)
            return COLOURS[int(np.argmax(middle))] if sound is not None else "I see colours."
        return "Yes."


def embedder() -> Model[Any]:
    return Model("fake", "1", partial(FakeEmbedder))


def plan(**changes: Any) -> Plan:
    """The whole pipeline over fakes; `changes` are fields of `Plan`."""
    fake = embedder()
    chat: Model[Chat] = Model("guesser", "1", Guesser)
    describe = (
        Silence(),
        Hear(Model("tones", "1", TalkingTones)),
        Repetition(),
        Embed(fake),
        Describe(Model("labels", "1", partial(Classifiers, fake)), COLOURS, ("low", "high")),
        Clean(ambient=("low",)),
        Language(("en",)),
        Perplexity(Model("vowels", "1", Vowels)),
        Relevance(Model("rival", "1", partial(Rival, fake)), least=0.6),
    )
    templates = Templates(least_picture=0.4, least_sound=0.4, pictures=COLOURS)
    ask = (Write((Model("templates", "1", partial(type(templates), **vars(templates))),)),)
    given: dict[str, Any] = {
        "split": Split(shortest_s=2, longest_s=6),
        "describe": describe,
        "together": (Duplicates(),),
        "ask": (*ask, Check(chat)),
        "write": (Export(),),
    }
    return Plan(**(given | changes))
