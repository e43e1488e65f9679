"""Connector pre-alignment for sounds: the audio connector learns to say the words in them.

CTC (Graves et al. 2006) over the connector's outputs, with the logits of `TokenAlignment`.

Shapes: B utterances, T frames (connector outputs), K tokens that occur, S targets, D width.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import ctc_loss
from torch.nn.utils.rnn import pad_sequence

from unisono.conversation import AudioPart
from unisono.errors import ConversationError, MediaTooLargeError, RecipeError
from unisono.manifests.row import PairRow, Row
from unisono.media import load_audio
from unisono.models.ola.features import KeepFeatures
from unisono.models.ola.model import OlaForConditionalGeneration
from unisono.models.ola.processor import OlaProcessor
from unisono.models.ola.prompt import AudioSpan
from unisono.models.ola.windows import Windows
from unisono.training import goals
from unisono.training.batch import Computed
from unisono.training.feature_cache import EncoderCache, media_tensors, with_keeper
from unisono.training.objectives.alignment import BLANK, TokenAlignment


@dataclass(frozen=True)
class Utterance:
    """A sound and the words in it.

    Attributes:
        span: the chunks.
        frames: connector outputs that the words are in; those behind are padding.
        classes: [S] of the tokens.
    """

    span: AudioSpan
    frames: int
    classes: tuple[int, ...]


class CtcAlignment(TokenAlignment):
    """`TokenAlignment` of an audio connector."""

    needs = "audio_connector"

    def forward(
        self,
        *,
        classes: Tensor,
        class_counts: Tensor,
        frame_counts: Tensor,
        keep: KeepFeatures | None = None,
        **media: Tensor,
    ) -> Tensor:
        """The CTC loss, summed over the utterances (scalar, float32).

        Args:
            classes: [B, S], padded.
            class_counts: [B].
            frame_counts: [B], at least what CTC needs for the classes.
            keep: see `OlaEncoders.each`.
            **media: one sound an utterance; see `OlaEncoders.each`.
        """
        heard = self.frames(keep=keep, **media)
        counts = frame_counts.tolist()
        cut = [frames[:count] for frames, count in zip(heard, counts, strict=True)]
        padded = pad_sequence(cut)  # [T, B, D]
        log_probs = self.logits(padded).log_softmax(dim=-1)
        return ctc_loss(
            log_probs, classes, frame_counts, class_counts, blank=BLANK, reduction="sum"
        )

    def frames(self, *, keep: KeepFeatures | None = None, **media: Tensor) -> list[Tensor]:
        """The connector's outputs for each sound, its marks left out: [T, D] each."""
        config = self.model.config
        tokens = self.model.encoders(keep=keep, **media)[config.audio_token_id]
        windows = Windows.of(config, media["audio_chunk_counts"], media.get("audio_lengths"))
        return windows.without_marks(torch.split(tokens, windows.sound_tokens))

    def transcribed(self, frames: Tensor) -> tuple[int, ...]:
        """The token ids heard in one sound's frames [T, D]: best path, runs merged."""
        runs = _runs(self.logits(frames).argmax(-1).tolist())
        return tuple(int(self.tokens[kind - 1]) for kind, _ in runs)

    def soft_embeddings(self, frames: Tensor, temperature: float = 0.5) -> Tensor:
        """What a language model that never met the connector can read of a sound.

        Runs of equal best classes become one embedding each, blanks none: the mean of the
        embeddings of the tokens, weighted by how much the run sounds like them.

        Args:
            frames: [T, D] of one sound.
            temperature: divides the run's mean token logits before their softmax.

        Returns:
            [runs, D].
        """
        logits = self.logits(frames)
        runs = [run for _, run in _runs(logits.argmax(-1).tolist())]
        if not runs:
            return frames[:0]
        means = torch.stack([logits[run, 1:].mean(dim=0) for run in runs])  # [runs, K]
        return (means / temperature).softmax(dim=-1) @ self.words


class ConnectorCtc:
    """Objective of utterances: rows of a sound and its words.

    The encoder hears whole chunks, or of each what the model's `audio_window` says; frames later
    than the end of the utterance and `window_s` take no part in the loss.

    Attributes:
        packs: never; there is no text to pack.
    """

    packs = False

    def __init__(
        self,
        processor: OlaProcessor,
        settings: goals.ConnectorCtc,
        tokens: Sequence[int],
        *,
        cache: EncoderCache | None = None,
    ) -> None:
        """Learn as a recipe says.

        Args:
            processor: the model's.
            settings: of the stage.
            tokens: ids that may be said; see `occurring_tokens`.
            cache: keeps the features of frozen encoders; None encodes all sounds anew.

        Raises:
            RecipeError: there are no tokens.
        """
        if not tokens:
            raise RecipeError("connector_ctc needs rows with a text, but there is none")
        self.processor = processor
        self.settings = settings
        self.tokens = tuple(tokens)
        self.cache = cache
        self._classes = {token: index + 1 for index, token in enumerate(self.tokens)}

    def wrap(self, model: OlaForConditionalGeneration) -> CtcAlignment:
        """What `loss` takes: the model with the stage's own parameters, all to be trained."""
        return CtcAlignment(model, self.tokens, self.settings.scale)

    def prepare(self, row: Row) -> Utterance:
        """Open an utterance.

        Raises:
            ConversationError: the row is no sound with a text, the text has tokens that were not
                announced, or more of them than the sound has room for.
            MediaTooLargeError: the model would not hear all of the sound.
            MediaError, UnsupportedModalityError: see `OlaProcessor.prompt`.
        """
        if not isinstance(row, PairRow) or row.audio is None or not row.text:
            raise ConversationError("connector_ctc learns from pairs of a sound and its text")
        classes = self._classes_of(row.text)
        samples = load_audio(row.audio)
        opened = self.processor.opener().open(AudioPart(audio=samples))
        if opened.notices:
            raise MediaTooLargeError(opened.notices[0])
        (span,) = (span for span in opened.spans if isinstance(span, AudioSpan))
        frames = self._frame_count(span, len(samples) / 16_000)
        if (needed := _frames_needed(classes)) > frames:
            raise ConversationError(
                f"the text needs a sound of {needed} frames, but it has {frames}"
            )
        return Utterance(span, frames, classes)

    def length(self, example: Utterance) -> int:
        """The tokens the language model would read of it."""
        return example.span.length

    def kind(self, example: Utterance) -> str:
        """Always "audio"."""
        return "audio"

    def collate(self, examples: Sequence[Utterance]) -> tuple[Mapping[str, Any], float]:
        """What `CtcAlignment.forward` takes; the weight is the utterances."""
        classes = [torch.tensor(one.classes) for one in examples]
        inputs = {
            "classes": pad_sequence(classes, batch_first=True),
            "class_counts": torch.tensor([len(one.classes) for one in examples]),
            "frame_counts": torch.tensor([one.frames for one in examples]),
        }
        spans = [one.span for one in examples]
        return inputs | media_tensors(self.processor, spans, self.cache), float(len(examples))

    def loss(self, model: nn.Module, inputs: Mapping[str, Any], *, draw: int) -> Computed:
        """Summed over the utterances; `model` is what `wrap` made, or a wrapper around it."""
        return Computed(model(**with_keeper(inputs, self.cache)))

    def _classes_of(self, text: str) -> tuple[int, ...]:
        ids = self.processor.tokenizer.encode(text.strip(), add_special_tokens=False)
        if unknown := [token for token in ids if token not in self._classes]:
            raise ConversationError(
                f"the text has tokens that none of the announced texts has: "
                f"{self.processor.tokenizer.convert_ids_to_tokens(unknown)}"
            )
        if not ids:
            raise ConversationError("the text must have words, but is empty")
        return tuple(self._classes[token] for token in ids)

    def _frame_count(self, span: AudioSpan, duration_s: float) -> int:
        config = self.processor.config
        a_chunk = config.audio_tokens_per_chunk - 1  # without its newline
        heard_s = duration_s + self.settings.window_s
        most = span.length - len(span.chunks) - 2  # without the connector's marks
        return min(math.ceil(heard_s / config.audio_chunk_s * a_chunk), most)


def occurring_tokens(rows: Iterable[Row], processor: OlaProcessor) -> tuple[int, ...]:
    """The ids of all tokens in the texts of pairs, ascending; no medium is opened."""
    found: set[int] = set()
    for row in rows:
        if isinstance(row, PairRow) and row.text:
            found.update(processor.tokenizer.encode(row.text.strip(), add_special_tokens=False))
    return tuple(sorted(found))


def _frames_needed(classes: Sequence[int]) -> int:
    """CTC needs a frame for each, and a blank between equal neighbours."""
    return len(classes) + sum(left == right for left, right in pairwise(classes))


def _runs(classes: Sequence[int]) -> Iterator[tuple[int, slice]]:
    """Runs of an equal class that is not the blank, and where they are."""
    start = 0
    for kind, run in groupby(classes):
        stop = start + len(list(run))
        if kind != BLANK:
            yield kind, slice(start, stop)
        start = stop
