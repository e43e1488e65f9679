"""The golden Ola: as its authors publish one (a folder), and as ours."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tiny
import torch
from golden import Golden
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor
from transformers import BatchFeature

from unisono.conversation import ImagePart
from unisono.models import OlaForConditionalGeneration, OlaProcessor
from unisono.models.ola import processor_media
from unisono.models.ola.encoders import MEDIA_INPUTS
from unisono.models.ola.prompt import Prompt, VideoSpan

WHISPER = "model.speech_encoder.whisper_model."
BEATS = "model.speech_encoder.beats_model."
SPEECH, IMAGE = -200, -300
"""The official placeholders: one a medium, pictures and videos alike."""


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
    tiny.byte_tokenizer().save_pretrained(folder)
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


def collapsed(prompt: Prompt) -> list[int | None]:
    """The ids with None in the place of each medium, however many tokens it has."""
    starts = {span.start for span in prompt.spans}
    inside = {i for s in prompt.spans for i in range(s.start, s.start + s.length)}
    return [
        None if index in starts else token
        for index, token in enumerate(prompt.ids)
        if index in starts or index not in inside
    ]
