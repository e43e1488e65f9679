"""Text, pictures and sounds -> what a ONE-PEACE model reads, in training and serving alike.

Shapes: B batch, T tokens without [CLS], S side of a picture or samples of a clip, F frames.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from transformers import AutoTokenizer, BatchFeature, PreTrainedTokenizerBase, ProcessorMixin

from unisono.errors import ConversationError, ModelConfigError, UnsupportedModalityError
from unisono.media import SAMPLE_RATE_HZ, AudioSource, ImageSource, load_audio, load_image
from unisono.models.onepeace.config import OnePeaceAudioConfig, OnePeaceConfig
from unisono.models.onepeace.image import PATCH_PX
from unisono.models.onepeace.processor_audio import MIN_SAMPLES, batch_clips, normalised_clip
from unisono.models.onepeace.processor_image import box_fractions, boxes_in_pixels, square_pixels
from unisono.models.onepeace.processor_text import (
    check_text,
    dataset_text,
    hub_text,
    pad_ids,
    word_start_table,
)

ConvLayers = Sequence[Sequence[int]]

OFFICIAL_CONV_LAYERS: ConvLayers = OnePeaceAudioConfig().conv_layers


@dataclass(frozen=True)
class Prepared:
    """What belongs together, opened and ready to be batched; None for what is not there.

    Attributes:
        ids: of the text, with eos.
        pixels: float32 [3, S, S].
        samples: float32 [S].
    """

    ids: list[int] | None = None
    pixels: Tensor | None = None
    samples: Tensor | None = None


class OnePeaceProcessor(ProcessorMixin):
    """Tokenizer and media preprocessing of one ONE-PEACE model.

    Attributes:
        tokenizer: None for a model that does not read text.
        image_size: side of the square every picture becomes; None for a model that does not see.
        conv_layers: (channels, kernel, stride) of the stem's convolutions, which say how many
            frames a clip makes; None for a model that does not hear.
        max_text_tokens: what a text has more of is cut; eos comes on top.
        max_audio_seconds: what a clip has more of is cut.
        clean_text: prepare texts like the official training data, not like its inference
            (`dataset_text`, `hub_text`).
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase | None,
        *,
        image_size: int | None = 256,
        conv_layers: ConvLayers | None = OFFICIAL_CONV_LAYERS,
        max_text_tokens: int = 70,
        max_audio_seconds: float = 15.0,
        clean_text: bool = False,
    ) -> None:
        _check_sizes(image_size, max_text_tokens, max_audio_seconds)
        if tokenizer is not None and None in (tokenizer.pad_token_id, tokenizer.eos_token_id):
            raise ModelConfigError("the tokenizer must have a padding and an end token")
        self.tokenizer = tokenizer
        self.image_size = image_size
        self.conv_layers = conv_layers and tuple(tuple(layer) for layer in conv_layers)
        self.max_text_tokens = max_text_tokens
        self.max_audio_seconds = max_audio_seconds
        self.clean_text = clean_text
        self.chat_template = None

    @classmethod
    def from_config(
        cls, tokenizer: PreTrainedTokenizerBase | None, config: OnePeaceConfig, **options: Any
    ) -> "OnePeaceProcessor":
        """The processor of a model: pictures at the size its relative table was made for.

        Args:
            tokenizer: not looked at when the model reads no text.
            config: the model's.
            **options: further arguments of the class.

        Raises:
            ModelConfigError: the tokenizer is missing, or does not fit the model's vocabulary.
        """
        text, image, audio = config.text_config, config.image_config, config.audio_config
        if text is not None:
            _check_fits(tokenizer, text)
        derived: dict[str, Any] = {
            "image_size": None if image is None else image.bias_grid * PATCH_PX,
            "conv_layers": None if audio is None else audio.conv_layers,
        }
        return cls(None if text is None else tokenizer, **(derived | options))

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | os.PathLike[str], **kwargs: Any
    ) -> "OnePeaceProcessor":
        """Read what `save_pretrained` wrote, from a folder or a model hub.

        Raises:
            ModelConfigError: there is no processor_config.json of this class.
        """
        source = pretrained_model_name_or_path
        try:
            settings, _ = cls.get_processor_dict(source, **kwargs)
        except OSError as error:
            raise ModelConfigError(f"'{source}' cannot be read: {error}") from error
        if "image_size" not in settings:
            raise ModelConfigError(f"'{source}' has no processor_config.json of a ONE-PEACE model")
        settings.pop("processor_class", None)
        reads = settings.pop("reads_text", True)
        tokenizer = AutoTokenizer.from_pretrained(source, **kwargs) if reads else None
        return cls(tokenizer, **settings)

    def save_pretrained(self, save_directory: str | os.PathLike[str], **kwargs: Any) -> None:
        """Write processor_config.json and the tokenizer."""
        os.makedirs(save_directory, exist_ok=True)
        if self.tokenizer is not None:
            self.tokenizer.save_pretrained(save_directory, **kwargs)
        self.to_json_file(os.path.join(save_directory, "processor_config.json"))

    def to_dict(self) -> dict[str, Any]:
        """What processor_config.json holds."""
        names = ("image_size", "conv_layers", "max_text_tokens", "max_audio_seconds", "clean_text")
        settings = {name: getattr(self, name) for name in names}
        reads = self.tokenizer is not None
        return settings | {"reads_text": reads, "processor_class": type(self).__name__}

    def __call__(
        self,
        text: str | Sequence[str] | None = None,
        images: ImageSource | Sequence[ImageSource] | None = None,
        audio: AudioSource | list[AudioSource] | None = None,
        *,
        boxes: Any = None,
    ) -> BatchFeature:
        """Prepare a batch of whatever is given; each kind may have its own length.

        Args:
            text: a text or several.
            images: a picture, or a list of them (paths, bytes, data URLs, PIL, arrays).
            audio: a sound, or a list of them; a tuple is one sound (samples, rate).
            boxes: [B, 4], x1, y1, x2, y2 in the pixels of the images: targets for grounding.

        Returns:
            `input_ids` and `attention_mask` [B, T]; `pixel_values` [B, 3, S, S] and, if given,
            `boxes` [B, 4] as fractions; `audio_values` [B, S] and `audio_mask` [B, F + 1].

        Raises:
            ConversationError: nothing is given, an empty list, or a text or box of a wrong form.
            MediaError: a medium cannot be opened.
            UnsupportedModalityError: the model does not read, see or hear what is given.
        """
        batch: dict[str, Tensor] = {}
        if text is not None:
            batch |= self._text(_listed(text, "text"))
        if images is not None:
            batch |= self._images(_listed(images, "images"), boxes)
        elif boxes is not None:
            raise ConversationError("boxes are given, but no images that they are in")
        if audio is not None:
            # A tuple is one sound with its rate, so only a list is several.
            sounds = [audio] if isinstance(audio, tuple) else _listed(audio, "audio")
            batch |= self._audio(sounds)
        if not batch:
            raise ConversationError("one of text, images and audio must be given")
        return BatchFeature(batch)

    def prepare(
        self,
        *,
        text: str | None = None,
        image: ImageSource | None = None,
        audio: AudioSource | None = None,
    ) -> Prepared:
        """Open one item; may be called in several threads.

        Raises:
            ConversationError, MediaError, UnsupportedModalityError: see `__call__`.
        """
        return Prepared(
            None if text is None else self.text_ids(text),
            None if image is None else self._opened(image),
            None if audio is None else self._samples(audio),
        )

    def collate(self, items: Sequence[Prepared]) -> BatchFeature:
        """Items of the same kinds -> one batch, as `__call__` gives it.

        Raises:
            ConversationError: one has a kind that another does not have.
        """
        texts, pixels, clips = (
            _all_or_none([getattr(item, name) for item in items], name)
            for name in ("ids", "pixels", "samples")
        )
        batch = self._texts(texts) if texts else {}
        if pixels:
            batch["pixel_values"] = torch.stack(pixels)
        return BatchFeature(batch | (self._clips(clips) if clips else {}))

    def text_ids(self, text: str) -> list[int]:
        """One text's ids: at most `max_text_tokens`, then eos.

        Raises:
            ConversationError: it is not a text.
            UnsupportedModalityError: the model does not read text.
        """
        prepare = dataset_text if self.clean_text else hub_text
        tokenizer = self._reader()
        ids: list[int] = tokenizer.encode(
            prepare(check_text(text)), add_special_tokens=False, split_special_tokens=True
        )
        return [*ids[: self.max_text_tokens], tokenizer.eos_token_id]

    def word_starts(self, input_ids: Tensor) -> Tensor:
        """bool like `input_ids` [B, T]: where a word begins; always at a text's first token."""
        starts = self._word_start_table[input_ids.cpu()]
        starts[..., 0] = True
        return starts

    def frames(self, samples: int) -> int:
        """Frames the model makes of so many samples; its mask has one more, for [CLS].

        Raises:
            UnsupportedModalityError: the model does not hear.
        """
        if self._audio_config is None:
            raise UnsupportedModalityError("the model has no adapter for audio")
        return self._audio_config.frames(samples)

    def boxes_in_pixels(self, fractions: Tensor, images: Sequence[Image.Image]) -> Tensor:
        """Boxes [B, 4] that a grounding model found, in the pixels of the original images."""
        return boxes_in_pixels(fractions, [picture.size for picture in images])

    def _text(self, texts: Sequence[str]) -> dict[str, Tensor]:
        return self._texts([self.text_ids(text) for text in texts])

    def _texts(self, rows: Sequence[list[int]]) -> dict[str, Tensor]:
        ids, mask = pad_ids(rows, self._reader().pad_token_id)
        return {"input_ids": ids, "attention_mask": mask}

    def _images(self, sources: Sequence[ImageSource], boxes: Any) -> dict[str, Tensor]:
        side = self._image_side()  # before anything is decoded
        pixels, sizes = [], []
        for source in sources:  # one after the other: only squares are kept
            picture = load_image(source)
            sizes.append(picture.size)
            pixels.append(self._pixels(picture))
        prepared = {"pixel_values": torch.stack(pixels)}
        if boxes is not None:
            prepared["boxes"] = box_fractions(boxes, sizes, side)
        return prepared

    def _opened(self, source: ImageSource) -> Tensor:
        self._image_side()  # before anything is decoded
        return self._pixels(load_image(source))

    def _pixels(self, picture: Image.Image) -> Tensor:
        return square_pixels(picture, self._image_side())

    def _image_side(self) -> int:
        if self.image_size is None:
            raise UnsupportedModalityError("the model has no adapter for images")
        return self.image_size

    def _audio(self, sources: Sequence[AudioSource]) -> dict[str, Tensor]:
        return self._clips([self._samples(source) for source in sources])

    def _samples(self, source: AudioSource) -> Tensor:
        self.frames(MIN_SAMPLES)  # before anything is decoded
        longest = round(self.max_audio_seconds * SAMPLE_RATE_HZ)
        return normalised_clip(load_audio(source), longest)

    def _clips(self, clips: Sequence[Tensor]) -> dict[str, Tensor]:
        values, mask = batch_clips(clips, self.frames)
        return {"audio_values": values, "audio_mask": mask}

    def _reader(self) -> PreTrainedTokenizerBase:
        if self.tokenizer is None:
            raise UnsupportedModalityError("the model has no adapter for text")
        return self.tokenizer

    @cached_property
    def _word_start_table(self) -> Tensor:
        return word_start_table(self._reader())

    @cached_property
    def _audio_config(self) -> OnePeaceAudioConfig | None:
        if self.conv_layers is None:
            return None
        return OnePeaceAudioConfig(conv_layers=[list(layer) for layer in self.conv_layers])


def _all_or_none(values: list[Any], name: str) -> list[Any]:
    """The values, if every item has one; nothing, if none has."""
    there = [value for value in values if value is not None]
    if there and len(there) != len(values):
        raise ConversationError(
            f"all items of a batch must have the same kinds, but only {len(there)} of "
            f"{len(values)} have {name}"
        )
    return there


def _listed(given: Any, name: str) -> list[Any]:
    several = list(given) if isinstance(given, list | tuple) else [given]
    if not several:
        raise ConversationError(f"{name} must not be an empty list")
    return several


def _check_sizes(image_size: int | None, max_text_tokens: int, max_audio_seconds: float) -> None:
    if image_size is not None and (image_size < PATCH_PX or image_size % PATCH_PX):
        raise ModelConfigError(
            f"image_size must be a multiple of {PATCH_PX}, but is {image_size} instead"
        )
    if max_text_tokens < 1:
        raise ModelConfigError(f"max_text_tokens must be at least 1, but is {max_text_tokens}")
    if max_audio_seconds * SAMPLE_RATE_HZ < MIN_SAMPLES:
        raise ModelConfigError(f"max_audio_seconds must be at least 1, but is {max_audio_seconds}")


def _check_fits(tokenizer: PreTrainedTokenizerBase | None, text: Any) -> None:
    if tokenizer is None:
        raise ModelConfigError("the model reads text, but there is no tokenizer")
    if len(tokenizer) > text.vocab_size:
        raise ModelConfigError(
            f"the tokenizer must have at most {text.vocab_size} entries, the model's vocabulary, "
            f"but has {len(tokenizer)} instead"
        )
    for name in ("pad_token_id", "eos_token_id"):
        wanted, had = getattr(text, name), getattr(tokenizer, name)
        if wanted != had:
            raise ModelConfigError(f"the tokenizer's {name} must be {wanted}, but is {had} instead")
