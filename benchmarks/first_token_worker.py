"""One side of first_token.py in a process of its own: conversations in, times and memory out.

    python first_token_worker.py '{"side": "ours", "model": "FOLDER", "threads": 2}'

Each line of standard input is a list of messages; each is answered by a line.

The official procedure is written on our modules and weights, so that nothing but the procedure
differs. Ola's inference script encodes a blank picture, in both resolutions, when there is none,
and half a minute of silence when there is no sound; a video also passes a blank low resolution;
all media pass their encoders at once; the language model computes the logits of all positions;
and each question starts from nothing.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import unisono

load = unisono.load  # before torch: it sets how long OpenMP's threads spin

import numpy as np  # noqa: E402
import torch  # noqa: E402
from memory import forget_peak, peak_bytes  # noqa: E402
from torch import Tensor  # noqa: E402

from unisono.conversation import Message, validate  # noqa: E402
from unisono.engines import GenerationSettings, TorchEngine  # noqa: E402
from unisono.models import OlaForConditionalGeneration, OlaProcessor  # noqa: E402
from unisono.models.ola.merge import merge, without_placeholders  # noqa: E402
from unisono.models.ola.processor_image import pixel_patches  # noqa: E402
from unisono.runtime.answer import Answer, Asked, Memory, Reader  # noqa: E402

FirstToken = Callable[[list[dict[str, Any]]], int]

SIDES = ("official", "no dummies", "last logits only", "ours")
"""Each has what the one before has, and one improvement more."""


class Official:
    """The official procedure, less what is switched off."""

    def __init__(
        self,
        model: OlaForConditionalGeneration,
        processor: OlaProcessor,
        *,
        dummies: bool,
        all_logits: bool,
    ) -> None:
        self.model, self.processor = model, processor
        self.dummies, self.all_logits = dummies, all_logits

    @torch.inference_mode()
    def __call__(self, messages: list[dict[str, Any]]) -> int:
        prompt = self.processor.prompt(messages)
        media = self.processor.media_tensors(prompt.spans)
        features = {**self._seen(media), **self._heard(media)}
        ids, placeholders = torch.tensor([prompt.ids]), self.model.config.placeholder_ids
        text = self.model.get_input_embeddings()(without_placeholders(ids, placeholders))
        embeddings = merge(text, ids, features, placeholders)
        output = self.model.language_model(
            inputs_embeds=embeddings, use_cache=True, logits_to_keep=0 if self.all_logits else 1
        )
        return int(output.logits[0, -1].argmax())

    def _seen(self, media: dict[str, Tensor]) -> dict[int, Tensor]:
        image, _, video = self.model.config.placeholder_ids
        if "pixel_patches" not in media:
            if self.dummies:
                self._look_at_nothing(224, 224)  # low and high resolution
            return {}
        if self.dummies and media["is_video"].any():
            self._look_at_nothing(128)
        tokens = self._look(*(media[name] for name in self._PICTURES))
        is_video = media["is_video"].tolist()
        kinds = {image: False, video: True}
        return {
            kind: torch.cat([t for t, v in zip(tokens, is_video, strict=True) if v == moving])
            for kind, moving in kinds.items()
            if moving in is_video
        }

    _PICTURES = ("pixel_patches", "patch_grids", "picture_counts", "is_video")

    def _look_at_nothing(self, *sides: int) -> None:
        config = self.processor.config
        blank = [np.zeros((side, side, 3), dtype=np.uint8) for side in sides]
        patches, grids = pixel_patches(blank, config.vision_config.patch_size, config.sizes)
        self._look(patches, grids, torch.tensor([len(sides)]), torch.tensor([False]))

    def _look(self, patches: Tensor, grids: Tensor, counts: Tensor, moving: Tensor) -> list[Tensor]:
        encoders = self.model.encoders
        features = encoders.vision(patches, grids).last_hidden_state
        return encoders.vision_connector(features, grids, counts, moving)

    def _heard(self, media: dict[str, Tensor]) -> dict[int, Tensor]:
        encoders, (_, audio, _) = self.model.encoders, self.model.config.placeholder_ids
        if "audio_chunk_counts" not in media:
            if self.dummies:
                config = self.model.config
                mels = torch.zeros(1, config.speech_config.num_mel_bins, 3000)
                samples = torch.zeros(1, config.audio_chunk_samples)
                encoders.audio_connector(encoders.hearing(mels, samples), torch.tensor([1]))
            return {}
        frames = encoders.hearing(media["audio_mels"], media["audio_samples"])
        return {audio: encoders.audio_connector(frames, media["audio_chunk_counts"])}


class Ours:
    """What a `Session` does: media opened and encoded once, the KV cache kept."""

    def __init__(self, model: OlaForConditionalGeneration, processor: OlaProcessor) -> None:
        self.reader = Reader(processor, TorchEngine(model.language_model), model.encoders)
        self.forget()

    def forget(self) -> None:
        """Begin another conversation."""
        self.reader.features.clear()
        self.opener = self.reader.processor.opener()
        self.memory = Memory(self.reader.engine.new_cache())
        self.given: list[dict[str, Any]] = []
        self.messages: list[Message] = []

    def __call__(self, messages: list[dict[str, Any]]) -> int:
        if messages[: len(self.given)] != self.given:
            self.forget()
        self.messages += validate(messages)[len(self.given) :]
        self.given = messages
        prompt = self.reader.processor.prompt(self.messages, opener=self.opener)
        answer = Answer(self.reader, self.memory, GenerationSettings(max_new_tokens=1))
        for _ in answer.events(prompt, None, Asked(time.perf_counter())):
            pass
        return answer.ids[0]


def side(name: str, model: OlaForConditionalGeneration, processor: OlaProcessor) -> FirstToken:
    if name == "ours":
        return Ours(model, processor)
    level = SIDES.index(name)
    return Official(model, processor, dummies=level < 1, all_logits=level < 2)


def main() -> None:
    answers = os.fdopen(os.dup(1), "w", buffering=1)  # libraries print to standard output
    os.dup2(2, 1)
    options = json.loads(sys.argv[1])
    torch.set_num_threads(options["threads"])
    model = OlaForConditionalGeneration.from_pretrained(options["model"], dtype=torch.float32)
    processor = OlaProcessor.from_pretrained(options["model"])
    first_token = side(options["side"], model.eval(), processor)
    first_token([{"role": "user", "content": "Warm up."}])
    print(json.dumps({"ready": True}), file=answers)
    for line in sys.stdin:
        forget_peak()
        before, started = peak_bytes(), time.perf_counter()
        token = first_token(json.loads(line))
        seconds = time.perf_counter() - started
        found = {"token": token, "first_token_s": seconds, "peak_bytes": peak_bytes() - before}
        print(json.dumps(found), file=answers)


if __name__ == "__main__":
    main()
