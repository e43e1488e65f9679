"""The golden Ola: as its authors publish one (a folder), and as ours."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from golden import Golden
from PIL import Image
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor
from transformers import BatchFeature, PreTrainedTokenizerFast
from transformers.convert_slow_tokenizer import bytes_to_unicode

from unisono.conversation import ImagePart
from unisono.models import OlaForConditionalGeneration, OlaProcessor
from unisono.models.key_table import rename, reversed_rules
from unisono.models.ola import processor_media
from unisono.models.ola.convert import ConversionOptions, convert
from unisono.models.ola.convert_keys import OLA_KEYS
from unisono.models.ola.encoders import MEDIA_INPUTS
from unisono.models.ola.prompt import Prompt, VideoSpan

WHISPER = "model.speech_encoder.whisper_model."
BEATS = "model.speech_encoder.beats_model."
SPEECH, IMAGE = -200, -300
"""The official placeholders: one a medium, pictures and videos alike."""


def golden_tokenizer() -> PreTrainedTokenizerFast:
    """Byte b is token b; then come the controls, in the order of the README."""
    alphabet = bytes_to_unicode()
    backend = Tokenizer(models.BPE(vocab={alphabet[b]: b for b in range(256)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="<|endoftext|>",
        eos_token="<|im_end|>",
        extra_special_tokens=["<|im_start|>"],
    )


def write_official_folder(golden: Golden, folder: Path) -> Path:
    """Write the official layout: config.json, one shard, the two encoders' files, tokenizer."""
    facts, weights = golden.facts("ola_tiny"), golden.file("ola_tiny").under("")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(facts["config"]))
    save_file(weights, folder / "model.safetensors")
    whisper = {k.removeprefix(WHISPER): v for k, v in weights.items() if k.startswith(WHISPER)}
    torch.save(
        {
            "dims": facts["whisper_dims"],
            "model_state_dict": {f"encoder.{k}": v for k, v in whisper.items()},
        },
        folder / facts["config"]["speech_encoder"],
    )
    beats = {k.removeprefix(BEATS): v for k, v in weights.items() if k.startswith(BEATS)}
    torch.save(
        {"cfg": facts["beats_cfg"], "model": beats}, folder / facts["config"]["music_encoder"]
    )
    golden_tokenizer().save_pretrained(folder)
    return folder


@dataclass(frozen=True)
class Ola:
    """The converted model in float32, and the stored media."""

    golden: Golden
    model: OlaForConditionalGeneration
    processor: OlaProcessor

    def embed(self, batch: BatchFeature) -> Tensor:
        """[B, T, D]: what the language model reads."""
        media = {name: batch[name] for name in MEDIA_INPUTS if name in batch}
        return self.model.embed(batch["input_ids"], **media)

    def sound(self, clip: str) -> np.ndarray:
        """A stored clip at 16 kHz."""
        samples = self.golden.file("ola_tiny_io").read(f"audio.{clip}.pcm16")
        return samples.numpy().astype(np.float32) / 32768

    def raw_image(self, index: int) -> Image.Image:
        """A stored picture."""
        return Image.fromarray(
            self.golden.file("ola_tiny_io").read(f"full.image{index}.raw").numpy()
        )

    def image_of_length(self, length: int) -> Image.Image:
        """The stored picture that makes so many tokens."""
        opener = self.processor.opener()
        count = sum(n.endswith(".high_u8") for n in self.golden.file("ola_tiny_io").names)
        for index in range(count):
            image = self.raw_image(index)
            if opener.open(ImagePart(image=image)).spans[0].length == length:
                return image
        raise LookupError(f"no picture makes {length} tokens")

    def video_span(self, *, first_frame_only: bool = False) -> VideoSpan:
        """The stored frames, at place 0."""
        frames = self.golden.file("ola_tiny_io").read("full.video.raw").numpy()
        if first_frame_only:
            frames = frames[:1]
        return processor_media.video_span(frames, self.processor.config)


def converted(golden: Golden, folder: Path) -> Ola:
    """Through the official layout, `convert`, and loading in float32, as a user would."""
    official = write_official_folder(golden, folder / "official")
    options = ConversionOptions(vision_heads=golden.facts("ola_tiny")["vision"]["heads"])
    convert(official, folder / "ours", options)
    model = OlaForConditionalGeneration.from_pretrained(folder / "ours", dtype=torch.float32)
    return Ola(golden, model.eval(), OlaProcessor.from_pretrained(folder / "ours"))


def official_name(name: str) -> str:
    """The official key of one of our parameters (none of BEATs, whose keys are not one for one)."""
    match = rename(reversed_rules(OLA_KEYS), name)
    if match is None:
        raise LookupError(name)
    return match[0]


def collapsed(prompt: Prompt) -> list[int | None]:
    """The ids with None in the place of each medium, however many tokens it has."""
    starts = {span.start for span in prompt.spans}
    inside = {i for s in prompt.spans for i in range(s.start, s.start + s.length)}
    return [
        None if index in starts else token
        for index, token in enumerate(prompt.ids)
        if index in starts or index not in inside
    ]
