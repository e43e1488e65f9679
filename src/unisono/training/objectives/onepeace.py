"""The losses of ONE-PEACE as an objective: pairs of a text and a picture or sound, or of the two.

A batch is one draw of the contrast: it has as many pairs on every rank, and weighs 1. Masks are
drawn anew whenever a pair comes by.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor, nn

from unisono.errors import BadRowError
from unisono.manifests.row import ConversationRow, Row
from unisono.models.onepeace import AUDIO_LANGUAGE, AUDIO_VISION, VISION_LANGUAGE, Masked
from unisono.models.onepeace.image import PATCH_PX
from unisono.models.onepeace.losses import JOINT, Stage
from unisono.models.onepeace.masking import (
    AUDIO_LANGUAGE_RATIOS,
    VISION_LANGUAGE_RATIOS,
    Ratios,
    sample_masks,
)
from unisono.models.onepeace.processor import OnePeaceProcessor, Prepared
from unisono.training.batch import Computed
from unisono.training.goals import Contrastive

STAGES: Mapping[str, tuple[Stage, Ratios]] = {
    "vision_language": (VISION_LANGUAGE, VISION_LANGUAGE_RATIOS),
    "audio_language": (AUDIO_LANGUAGE, AUDIO_LANGUAGE_RATIOS),
    "audio_vision": (AUDIO_VISION, {}),
}
"""Name in a recipe -> the losses' weights, and how much is masked."""


class OnePeaceContrast:
    """Cross-modal contrast and denoising contrast of one stage (arXiv 2305.11172, section 2.3)."""

    exact = True
    """Every batch must have as many rows: a contrast gathers equal shares of all ranks."""

    def __init__(
        self, processor: OnePeaceProcessor, settings: Contrastive, *, seed: int = 0
    ) -> None:
        """Prepare a stage.

        Args:
            processor: of the model.
            settings: which stage, and what is left out of it.
            seed: of the masks.
        """
        stage, ratios = STAGES[settings.stage]
        self.processor = processor
        self.stage = stage.without(*settings.without)
        self.ratios = {name: r for name, r in ratios.items() if _needed(self.stage, name)}
        self.full_gradients = settings.full_gradients
        self._seed = seed

    def prepare(self, row: Row) -> Prepared:
        """A pair, opened.

        Raises:
            BadRowError: it is a conversation, or lacks one of the two.
            MediaError: the picture or sound cannot be used.
        """
        if isinstance(row, ConversationRow):
            raise BadRowError(f"{row.name}: a contrast needs pairs, but this is a conversation")
        pair = {modality: getattr(row, modality) for modality in self.stage.pair}
        if None in pair.values():
            raise BadRowError(f"{row.name}: a contrast needs {' and '.join(self.stage.pair)}")
        return self.processor.prepare(**pair)

    def length(self, example: Prepared) -> int:
        """Tokens of both, with their [CLS]."""
        samples = example.samples
        heard = 0 if samples is None else self.processor.frames(len(samples)) + 1
        return _text_tokens(example) + _image_tokens(example) + heard

    def kind(self, example: Prepared) -> str:
        """Both modalities."""
        return "+".join(self.stage.pair)

    def collate(self, examples: Sequence[Prepared]) -> tuple[Mapping[str, Any], float]:
        """The batch as `OnePeaceProcessor` makes it, and where words begin."""
        inputs = dict(self.processor.collate(examples))
        if "input_ids" in inputs:
            inputs["word_starts"] = self.processor.word_starts(inputs["input_ids"])
        return inputs, 1.0

    def loss(self, model: nn.Module, inputs: Mapping[str, Any], *, draw: int) -> Computed:
        """Draw masks and sum the stage's losses."""
        given: dict[str, Tensor] = {n: x for n, x in inputs.items() if n != "word_starts"}
        generator = np.random.default_rng(np.random.SeedSequence((self._seed, draw)))
        masks = sample_masks(given, self.ratios, generator, word_starts=inputs.get("word_starts"))
        first = next(iter(given.values()))
        found = model(
            masks={
                name: Masked(*(x.to(first.device) for x in mask)) for name, mask in masks.items()
            },
            stage=self.stage,
            full_gradients=self.full_gradients,
            **given,
        )
        pairs = len(first)
        right = {f"found_by_{m}": n / pairs for m, n in (found.correct or {}).items()}
        terms = {name: term.detach() for name, term in found.losses.items()}
        return Computed(found.loss, {**terms, **right, "logit_scale": found.logit_scale})


def _text_tokens(example: Prepared) -> int:
    return 0 if example.ids is None else len(example.ids) + 1


def _image_tokens(example: Prepared) -> int:
    return 0 if example.pixels is None else (example.pixels.shape[-1] // PATCH_PX) ** 2 + 1


def _needed(stage: Stage, name: str) -> bool:
    """Whether a mask is of a term that counts; both masks of a joint pass are, or none."""
    if name.startswith(JOINT):
        return any(stage.joint.values())
    return bool(stage.alone.get(name))
