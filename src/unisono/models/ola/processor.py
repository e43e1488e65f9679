"""Conversations -> what an Ola model reads. Training and serving go through here alike.

Shapes: B batch, T tokens, N chunks, S samples of a chunk, M mel bins, P patches.
"""

import os
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import replace
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor
from transformers import (
    AutoTokenizer,
    BatchFeature,
    PreTrainedTokenizerBase,
    ProcessorMixin,
    WhisperFeatureExtractor,
)

from unisono.conversation import (
    AudioPart,
    Message,
    Part,
    Tagged,
    TextPart,
    encode,
    normalise,
    validate,
)
from unisono.errors import ConversationError, ModelConfigError
from unisono.models.ola.arrangement import arranged
from unisono.models.ola.config import Hearing, OlaConfig
from unisono.models.ola.processor_image import pixel_patches
from unisono.models.ola.processor_media import MediaOpener, Opened, audio_counts
from unisono.models.ola.prompt import AudioSpan, ImageSpan, MediaSpan, Prompt, VideoSpan, of_kind
from unisono.models.ola.supervision import IGNORED, Supervision, template_labels

Conversation = str | Sequence[Message | Mapping[str, Any]]


class OlaProcessor(ProcessorMixin):
    """Tokenizer, chat template and media preprocessing of one Ola model."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, config: OlaConfig) -> None:
        self.tokenizer = tokenizer
        self.config = config
        self.chat_template = tokenizer.chat_template

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | os.PathLike[str], **kwargs: Any
    ) -> "OlaProcessor":
        """Read the tokenizer and the model's config from one folder or hub name."""
        tokenizer = AutoTokenizer.from_pretrained(pretrained_model_name_or_path, **kwargs)
        return cls(tokenizer, OlaConfig.from_pretrained(pretrained_model_name_or_path, **kwargs))

    def save_pretrained(self, save_directory: str | os.PathLike[str], **kwargs: Any) -> None:
        """Write the tokenizer and the config that `from_pretrained` reads."""
        self.tokenizer.save_pretrained(save_directory, **kwargs)
        self.config.save_pretrained(save_directory)

    def with_hearing(self, hearing: Hearing) -> "OlaProcessor":
        """The same processor for a model whose words reach it another way; see `OlaConfig`.

        For one question (`processor.with_hearing("both").prompt(...)`) or for good.

        Raises:
            ModelConfigError: there is no such way.
        """
        if hearing not in get_args(Hearing):
            raise ModelConfigError(
                f"hearing must be one of {', '.join(get_args(Hearing))}, but is {hearing!r} instead"
            )
        config = copy(self.config)
        config.hearing = hearing
        return OlaProcessor(self.tokenizer, config)

    def __call__(
        self,
        conversations: "Conversation | Sequence[Conversation]",
        *,
        add_generation_prompt: bool = True,
    ) -> BatchFeature:
        """Encode one conversation, or a batch of them, left-padded.

        Args:
            conversations: a string, a list of messages, or a list of such lists.
            add_generation_prompt: end with the opening of the assistant's turn.

        Returns:
            `input_ids` and `attention_mask` [B, T], and what `media_tensors` makes.

        Raises:
            ConversationError, MediaError, UnsupportedModalityError: see `prompt`.
        """
        batch = conversations if _is_batch(conversations) else [conversations]
        prompts = [
            self.prompt(one, add_generation_prompt=add_generation_prompt)  # type: ignore[arg-type]
            for one in batch
        ]
        return self.collate(prompts)

    def opener(self) -> MediaOpener:
        """What opens the media of a conversation, to be given to `prompt` turn after turn."""
        return MediaOpener(self.config)

    def prompt(
        self,
        conversation: Conversation,
        *,
        add_generation_prompt: bool = True,
        opener: MediaOpener | None = None,
    ) -> Prompt:
        """Encode one conversation: validate, normalise, encode, open its media.

        Args:
            conversation: a string, or messages the last of which is the user's.
            add_generation_prompt: end with the opening of the assistant's turn.
            opener: opens no medium again that it opened before.

        Raises:
            ConversationError: the conversation is malformed, or a sound has no transcript
                though the model reads words through a listener.
            MediaError: a medium cannot be opened.
            UnsupportedModalityError: the model has no encoder for a medium.
        """
        opener = opener or self.opener()
        messages = self._messages(validate(conversation), opener)
        tagged = encode(messages, self.tokenizer, add_generation_prompt=add_generation_prompt)
        opener.forget_others([p for p, _ in tagged if not isinstance(p, list)])
        prompt, _ = self._assemble(tagged, opener, "answers")
        return prompt

    def example(
        self, conversation: Conversation, *, supervision: Supervision = "answers"
    ) -> tuple[Prompt, tuple[int, ...]]:
        """Encode one conversation to learn from.

        Args:
            conversation: messages, the last of which is the assistant's.
            supervision: which tokens are learned.

        Returns:
            The prompt, and a label for each of its positions, -100 where nothing is learned.

        Raises:
            ConversationError, MediaError, UnsupportedModalityError: see `prompt`.
        """
        opener = self.opener()
        messages = self._messages(validate(conversation, answered=True), opener)
        return self._assemble(encode(messages, self.tokenizer), opener, supervision)

    def collate(
        self,
        prompts: Sequence[Prompt],
        *,
        labels: Sequence[Sequence[int]] | None = None,
        padding_side: Literal["left", "right"] = "left",
    ) -> BatchFeature:
        """Prompts -> the tensors of one padded batch, with `labels` [B, T] if they are given."""
        pad_id = self.tokenizer.pad_token_id or 0
        rows = {
            "input_ids": ([list(prompt.ids) for prompt in prompts], pad_id),
            "attention_mask": ([[1] * len(prompt.ids) for prompt in prompts], 0),
        }
        if labels is not None:
            rows["labels"] = ([list(one) for one in labels], IGNORED)
        padded = {
            name: _padded(values, filler, padding_side) for name, (values, filler) in rows.items()
        }
        spans = [span for prompt in prompts for span in prompt.spans]
        return BatchFeature({**padded, **self.media_tensors(spans)})

    def media_tensors(self, spans: Sequence[MediaSpan]) -> dict[str, Tensor]:
        """The encoders' inputs for these media; empty when there are none.

        Returns:
            For sounds `audio_mels` [N, M, frames], `audio_samples` [N, S] (whichever the model's
            encoders take), `audio_chunk_counts` [sounds] and, where it matters, `audio_lengths`
            [N], the samples of each chunk that are sound. For pictures and videos
            `pixel_patches` [P, C * p * p], `patch_grids` [pictures, 2] (rows, columns),
            `picture_counts` [media] and `is_video` [media].
        """
        sounds, seen = of_kind(spans, AudioSpan), of_kind(spans, ImageSpan)
        tensors = self._audio_tensors(sounds) if sounds else {}
        return tensors | (self._picture_tensors(seen) if seen else {})

    def _audio_tensors(self, spans: Sequence[AudioSpan]) -> dict[str, Tensor]:
        longest = max(span.chunks.shape[1] for span in spans)
        missing = [longest - span.chunks.shape[1] for span in spans]
        chunks = np.concatenate(
            [
                np.pad(one.chunks, ((0, 0), (0, more)))
                for one, more in zip(spans, missing, strict=True)
            ]
        )
        tensors = audio_counts(spans)
        if self.config.speech_config is not None:
            mels = self._mel_extractor(
                list(chunks), sampling_rate=16_000, return_tensors="pt", padding="longest"
            )
            tensors["audio_mels"] = mels.input_features
        if self.config.sound_config is not None:
            tensors["audio_samples"] = torch.from_numpy(chunks)
        return tensors

    def _picture_tensors(self, spans: Sequence[ImageSpan]) -> dict[str, Tensor]:
        pictures = [picture for span in spans for picture in span.pictures]
        patches, grids = pixel_patches(
            pictures, self.config.vision_config.patch_size, self.config.sizes
        )
        return {
            "pixel_patches": patches,
            "patch_grids": grids,
            "picture_counts": torch.tensor([len(span.pictures) for span in spans]),
            "is_video": torch.tensor([isinstance(span, VideoSpan) for span in spans]),
        }

    def _messages(self, said: list[Message], opener: MediaOpener) -> list[Message]:
        """Normalised, with the words heard, the model's system prompt, and media in order."""
        messages = [self._with_words(message) for message in normalise(said)]
        if self.config.system_prompt is not None and messages[0].role != "system":
            messages.insert(0, Message(role="system", content=self.config.system_prompt))
        return [self._arranged(message, opener) for message in messages]

    def _arranged(self, message: Message, opener: MediaOpener) -> Message:
        if all(isinstance(part, TextPart) for part in message.parts):
            return message
        parts = arranged(
            message.parts, self.config.prompt_form, lambda part: opener.open(part).sounds
        )
        return message.model_copy(update={"content": parts})

    def _assemble(
        self, tagged: Sequence[Tagged], opener: MediaOpener, supervision: Supervision
    ) -> tuple[Prompt, tuple[int, ...]]:
        """Pieces -> one run of ids, spans where media are, and labels."""
        ids: list[int] = []
        labels: list[int] = []
        spans: list[MediaSpan] = []
        notices: list[str] = []
        said_by: str | None = None
        for piece, role in tagged:
            if isinstance(piece, list):
                ids += piece
                labels += self._labels(piece, role, supervision, after=said_by)
            else:
                opened = opener.open(piece)
                notices += opened.notices
                spans += self._place(opened, ids)
                labels += [IGNORED] * (len(ids) - len(labels))
            said_by = role
        return Prompt(tuple(ids), tuple(spans), tuple(notices)), tuple(labels)

    def _labels(
        self, ids: list[int], role: str | None, supervision: Supervision, *, after: str | None
    ) -> list[int]:
        if role == "assistant":
            return ids
        if role is not None:
            return [IGNORED] * len(ids)
        answered = after == "assistant"
        return template_labels(ids, self.tokenizer, supervision, after_answer=answered)

    def _place(self, opened: Opened, ids: list[int]) -> list[MediaSpan]:
        """Append a medium's placeholders to `ids`; its spans, where they are now."""
        placed: list[MediaSpan] = []
        for span in opened.spans:
            if placed and self.config.prompt_form == "training":
                ids += self.tokenizer.encode("\n", add_special_tokens=False)
            placed.append(replace(span, start=len(ids)))
            ids += [self._placeholder(span)] * span.length
        return placed

    def _placeholder(self, span: MediaSpan) -> int:
        image, audio, video = self.config.placeholder_ids
        if isinstance(span, AudioSpan):
            return audio
        return video if isinstance(span, VideoSpan) else image

    def _with_words(self, message: Message) -> Message:
        """Put the words heard in a message's sounds beside them, as `hearing` has it."""
        if not any(isinstance(part, AudioPart) for part in message.parts):
            return message
        if self.config.hearing == "connector":
            return message
        alone = not any(isinstance(part, TextPart) for part in message.parts)
        parts: list[Part] = []
        for part in message.parts:
            if isinstance(part, AudioPart):
                if self.config.hears_sound:
                    parts.append(part)
                parts.append(_words_of(part, alone=alone))
            else:
                parts.append(part)
        return normalise([message.model_copy(update={"content": tuple(parts)})])[0]

    @cached_property
    def _mel_extractor(self) -> WhisperFeatureExtractor:
        return WhisperFeatureExtractor(
            feature_size=self.config.speech_config.num_mel_bins,
            chunk_length=-(-self.config.audio_chunk_samples // 16_000),
        )


def _words_of(part: AudioPart, *, alone: bool) -> TextPart:
    """A sound's transcript: said by the user when it stands alone, quoted beside a text."""
    if part.transcript is None:
        raise ConversationError(
            "the model reads the words of a sound through a listener, but the audio part has no "
            "transcript: load the model with a listener, or set AudioPart.transcript"
        )
    return TextPart(text=part.transcript if alone else f'Words heard: "{part.transcript}"')


def _is_batch(conversations: Any) -> bool:
    if isinstance(conversations, str) or not conversations:
        return False
    return isinstance(conversations[0], str | Sequence) and not isinstance(
        conversations[0], Message
    )


def _padded(rows: list[list[int]], filler: int, padding_side: Literal["left", "right"]) -> Tensor:
    longest = max(map(len, rows))
    padding = [[filler] * (longest - len(row)) for row in rows]
    if padding_side == "left":
        return torch.tensor([[*pad, *row] for pad, row in zip(padding, rows, strict=True)])
    return torch.tensor([[*row, *pad] for pad, row in zip(padding, rows, strict=True)])
