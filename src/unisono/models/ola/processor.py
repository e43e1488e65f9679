"""Conversations -> what an Ola model reads. Training and serving go through here alike.

Whoever counts the placeholders also makes the samples: a sound is cut into chunks here, and
its placeholders are counted from the chunks.

Shapes: T tokens, N chunks, S samples of a chunk, M mel bins.
"""

import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

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
    MediaPart,
    Message,
    Part,
    TextPart,
    encode,
    normalise,
    validate,
)
from unisono.errors import ConversationError, MediaTooLargeError, UnsupportedModalityError
from unisono.media import load_audio
from unisono.models.ola.config import OlaConfig
from unisono.models.ola.prompt import AudioSpan, Prompt

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
            `input_ids` and `attention_mask` [B, T], and for sounds `audio_mels` [N, M, frames],
            `audio_samples` [N, S] (whichever the model's encoders take) and
            `audio_chunk_counts` [sounds].

        Raises:
            ConversationError, MediaError, UnsupportedModalityError: see `prompt`.
        """
        batch = conversations if _is_batch(conversations) else [conversations]
        prompts = [
            self.prompt(one, add_generation_prompt=add_generation_prompt)  # type: ignore[arg-type]
            for one in batch
        ]
        return self.collate(prompts)

    def prompt(self, conversation: Conversation, *, add_generation_prompt: bool = True) -> Prompt:
        """Encode one conversation: validate, normalise, encode, open its media.

        Raises:
            ConversationError: the conversation is malformed, or a sound has no transcript
                though the model reads words through a listener.
            MediaError: a medium cannot be opened.
            UnsupportedModalityError: the model has no encoder for a medium.
        """
        messages = [self._with_words(message) for message in normalise(validate(conversation))]
        if self.config.system_prompt is not None and messages[0].role != "system":
            messages.insert(0, Message(role="system", content=self.config.system_prompt))
        pieces = encode(messages, self.tokenizer, add_generation_prompt=add_generation_prompt)
        _, audio_token_id, _ = self.config.placeholder_ids
        ids: list[int] = []
        spans = []
        for piece in pieces:
            if isinstance(piece, list):
                ids += piece
            else:
                span = self._open(piece, start=len(ids))
                spans.append(span)
                ids += [audio_token_id] * span.length
        return Prompt(ids=tuple(ids), audio=tuple(spans))

    def collate(self, prompts: Sequence[Prompt]) -> BatchFeature:
        """Prompts -> the tensors of one left-padded batch."""
        longest = max(len(prompt.ids) for prompt in prompts)
        pad_id = self.tokenizer.pad_token_id or 0
        rows = [[pad_id] * (longest - len(p.ids)) + list(p.ids) for p in prompts]
        masks = [[0] * (longest - len(p.ids)) + [1] * len(p.ids) for p in prompts]
        spans = [span for prompt in prompts for span in prompt.audio]
        return BatchFeature(
            {
                "input_ids": torch.tensor(rows),
                "attention_mask": torch.tensor(masks),
                **self.media_tensors(spans),
            }
        )

    def media_tensors(self, spans: Sequence[AudioSpan]) -> dict[str, Tensor]:
        """The encoders' inputs for these sounds; empty when there are none."""
        if not spans:
            return {}
        chunks = np.concatenate([span.chunks for span in spans])
        tensors = {"audio_chunk_counts": torch.tensor([len(span.chunks) for span in spans])}
        if self.config.speech_config is not None:
            mels = self._mel_extractor(
                list(chunks), sampling_rate=16_000, return_tensors="pt", padding="longest"
            )
            tensors["audio_mels"] = mels.input_features
        if self.config.sound_config is not None:
            tensors["audio_samples"] = torch.from_numpy(chunks)
        return tensors

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

    def _open(self, part: MediaPart, *, start: int) -> AudioSpan:
        if not isinstance(part, AudioPart):
            raise UnsupportedModalityError(
                f"the model has no vision encoder, so it cannot use the {part.type} it was given"
            )
        if not self.config.hears_sound:
            raise UnsupportedModalityError(
                "the model has no hearing encoder, so it cannot use the audio it was given"
            )
        chunks = self._chunks(load_audio(part.audio))
        return AudioSpan(start, len(chunks) * self.config.audio_tokens_per_chunk + 2, chunks)

    def _chunks(self, samples: np.ndarray) -> np.ndarray:
        """[samples] -> [N, S], the last chunk zero-padded."""
        size = self.config.audio_chunk_samples
        count = -(-len(samples) // size)
        if count > self.config.audio_max_chunks:
            limit_s = self.config.audio_max_chunks * self.config.audio_chunk_s
            raise MediaTooLargeError(
                f"the audio lasts {len(samples) / 16_000:.0f} s, "
                f"but the model hears at most {limit_s:.0f} s"
            )
        padded = np.zeros(count * size, dtype=np.float32)
        padded[: len(samples)] = samples
        return padded.reshape(count, size)

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
