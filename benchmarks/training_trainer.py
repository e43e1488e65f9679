"""The opponent in training.py: transformers' Trainer as its documentation has it.

    python training_trainer.py '{"stage": "next_token", "model": "FOLDER", "rows": "rows.jsonl", …}'

A collator that opens media with our processor and pads, batches grouped by their exact lengths
(counted before the clock starts), loader processes, the model's own loss. Weights, rows, what is
frozen, batch size, learning rate and precision are ours. Prints a line of JSON: when each step
ended, and the tokens read until then.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import unisono

unisono.calm_openmp()  # as ours: before torch

import numpy as np  # noqa: E402
import torch  # noqa: E402
from datasets import Dataset  # noqa: E402
from memory import forget_peak, peak_bytes  # noqa: E402
from transformers import Trainer, TrainerCallback, TrainingArguments  # noqa: E402

from unisono.models import OlaForConditionalGeneration, OlaProcessor  # noqa: E402
from unisono.models.onepeace import AUDIO_LANGUAGE, VISION_LANGUAGE, OnePeaceForPretraining, Stage  # noqa: E402
from unisono.models.onepeace.masking import (  # noqa: E402
    AUDIO_LANGUAGE_RATIOS,
    VISION_LANGUAGE_RATIOS,
    sample_masks,
)
from unisono.models.onepeace.processor import OnePeaceProcessor  # noqa: E402
from unisono.training.parts import set_trainable  # noqa: E402

STAGES = {
    "vision_language": (VISION_LANGUAGE, VISION_LANGUAGE_RATIOS),
    "audio_language": (AUDIO_LANGUAGE, AUDIO_LANGUAGE_RATIOS),
}


class Conversations:
    """Rows -> a padded batch with labels."""

    def __init__(self, folder: Path, media: Path) -> None:
        self.processor = OlaProcessor.from_pretrained(folder)
        self.media = media

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        examples = [self.example(json.loads(row["row"])) for row in rows]
        prompts, labels = ([e[i] for e in examples] for i in (0, 1))
        return dict(self.processor.collate(prompts, labels=labels, padding_side="right"))

    def tokens(self, row: dict[str, Any]) -> int:
        return len(self.example(row)[1])

    def example(self, row: dict[str, Any]) -> Any:
        return self.processor.example([{**m, "content": self._content(m)} for m in row["messages"]])

    def _content(self, message: dict[str, Any]) -> Any:
        content = message["content"]
        if isinstance(content, str):
            return content
        return [{**part, **self._resolved(part)} for part in content]

    def _resolved(self, part: dict[str, Any]) -> dict[str, str]:
        kind = part["type"]
        return {} if kind == "text" else {kind: str(self.media / part[kind])}


class Pairs:
    """Rows -> a padded batch with masks."""

    def __init__(self, folder: Path, media: Path, stage: str) -> None:
        self.processor = OnePeaceProcessor.from_pretrained(folder)
        self.media, self.ratios = media, STAGES[stage][1]
        self.kind = "image" if stage == "vision_language" else "audio"
        self.draws = np.random.default_rng(0)

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        pairs = [json.loads(row["row"]) for row in rows]
        media = [str(self.media / pair[self.kind]) for pair in pairs]
        name = "images" if self.kind == "image" else "audio"
        inputs = dict(self.processor(text=[pair["text"] for pair in pairs], **{name: media}))
        starts = self.processor.word_starts(inputs["input_ids"])
        masks = sample_masks(inputs, self.ratios, self.draws, word_starts=starts)
        return {**inputs, "masks": {name: tuple(mask) for name, mask in masks.items()}}

    def tokens(self, row: dict[str, Any]) -> int:
        one = self.processor.prepare(
            text=row["text"], **{self.kind: str(self.media / row[self.kind])}
        )
        frames = 0 if one.samples is None else self.processor.frames(len(one.samples))
        return len(one.ids or ()) + frames


class PairTrainer(Trainer):
    """Tells the model the stage."""

    stage: Stage

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, **_: Any
    ) -> torch.Tensor:
        loss: torch.Tensor = model(stage=self.stage, **inputs).loss
        return loss


class Clock(TrainerCallback):
    """Notes when each step ended."""

    def __init__(self) -> None:
        self.ends: list[tuple[float, int]] = []

    def on_step_end(self, _arguments: Any, state: Any, *_: Any, **__: Any) -> None:
        self.ends.append((time.perf_counter(), state.num_input_tokens_seen))


def main() -> None:
    options = json.loads(sys.argv[1])
    torch.set_num_threads(options["threads"])
    manifest, folder, stage = Path(options["rows"]), Path(options["model"]), options["stage"]
    collate: Any
    model: Any
    if stage == "next_token":
        model = OlaForConditionalGeneration.from_pretrained(folder)
        collate, trainer_class = Conversations(folder, manifest.parent), Trainer
    else:
        model = OnePeaceForPretraining.from_pretrained(folder)
        collate, trainer_class = Pairs(folder, manifest.parent, stage), PairTrainer
        PairTrainer.stage = STAGES[stage][0]
    set_trainable(model, options["trainable"])
    lines = manifest.read_text().splitlines()
    lengths = [collate.tokens(json.loads(line)) for line in lines]
    clock = Clock()
    arguments = TrainingArguments(
        output_dir=options["out"],
        use_cpu=True,
        per_device_train_batch_size=options["batch"],
        max_steps=options["steps"],
        learning_rate=options["lr"],
        max_grad_norm=1.0,
        train_sampling_strategy="group_by_length",
        include_num_input_tokens_seen="non_padding" if stage == "next_token" else "no",
        dataloader_num_workers=options["loader_workers"],
        remove_unused_columns=False,
        report_to=[],
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
        seed=0,
    )
    trainer = trainer_class(
        model=model,
        args=arguments,
        train_dataset=Dataset.from_dict({"row": lines, "length": lengths}),
        data_collator=collate,
        callbacks=[clock],
    )
    forget_peak()
    before = peak_bytes()
    trainer.train()
    print(json.dumps({"ends": clock.ends, "peak_bytes": peak_bytes() - before}))


if __name__ == "__main__":
    main()
