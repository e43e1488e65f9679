"""One side of representation.py in a process of its own: scenarios in, times and memory out.

    python representation_worker.py '{"side": "ours", "model": "FOLDER", "threads": 2}'

Each line of standard input is {"scenario": …, "alone": bool, "save": PATH or null} and is
answered by a line. What was computed is saved for comparison where a path is given.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import unisono

unisono.calm_openmp()  # before torch: it sets how long OpenMP's threads spin

import torch  # noqa: E402
from memory import forget_peak, peak_bytes  # noqa: E402
from representation_model import Amounts, Inputs, batch, media, pairs  # noqa: E402
from representation_official import Official  # noqa: E402
from torch import Tensor  # noqa: E402

from unisono.allocator import keep_memory  # noqa: E402
from unisono.models.onepeace import OnePeaceForPretraining  # noqa: E402
from unisono.runtime.batches import token_batches  # noqa: E402

SIDES = ("official", "fused attention", "sorted by length", "ours")
"""Each has what the one before has, and one improvement more."""

ENCODED = ("text", "image", "audio")
PRETRAINING = "pretraining step"
BATCH_SIZE = 16


class Side:
    """One way to embed and to pretrain, over the same media and weights."""

    def __init__(self, name: str, model: OnePeaceForPretraining, amounts: Amounts) -> None:
        self.name, self.model = name, model
        self.sorts = SIDES.index(name) >= SIDES.index("sorted by length")
        self.media = media(amounts, model.config.text_config.vocab_size)
        self.pairs, self.masks = pairs(amounts, self.media, model.config)
        official = Official(model, fused=name != "official")
        self.embed_batch: Callable[[str, Inputs], Tensor] = official.embed
        self.losses: Callable[[], dict[str, Tensor]] = self._official_losses(official)
        if name == "ours":
            keep_memory()  # as `Embedder` and `unisono train` do
            self.embed_batch, self.losses = self._our_embeddings, self._our_losses
            # The original's decoder attends to padding: else the losses could not be compared.
            model.decoder.leaks = True

    def run(self, scenario: str, *, alone: bool = False) -> dict[str, Tensor]:
        """What a scenario computes: embeddings, or losses and the gradients' norm.

        `alone`: embed one item at a time, so that nothing is padded.
        """
        if scenario == PRETRAINING:
            return self._step()
        return {"embeddings": self._embed(scenario, 1 if alone else BATCH_SIZE)}

    @torch.inference_mode()
    def _embed(self, modality: str, batch_size: int) -> Tensor:
        """[N, D] in the order given; the sides that sort do it as `Embedder` does."""
        self.model.eval()
        items: list[Tensor] = getattr(self.media, modality)
        embeddings = torch.empty(len(items), self.model.config.hidden_size)
        for chosen in self._batches(modality, items, batch_size):
            inputs = batch(modality, [items[i] for i in chosen], self.model.config)
            embeddings[chosen] = self.embed_batch(modality, inputs)
        return embeddings

    def _batches(self, modality: str, items: list[Tensor], batch_size: int) -> Iterator[list[int]]:
        """Places of items that are encoded together; ours are those of `Embedder`."""
        if self.name == "ours":
            return token_batches([self._tokens(modality, one) for one in items], batch_size)
        places = list(range(len(items)))
        if self.sorts and modality != "image":
            places.sort(key=lambda place: len(items[place]))
        starts = range(0, len(places), batch_size)
        return iter([places[start : start + batch_size] for start in starts])

    def _tokens(self, modality: str, item: Tensor) -> int:
        config = self.model.config
        if modality == "text":
            return len(item) + 1
        if modality == "image":
            return config.image_config.position_grid**2 + 1
        return int(config.audio_config.frames(len(item))) + 1

    def _step(self) -> dict[str, Tensor]:
        """Forward and backward; what the optimizer does then is the same on all sides."""
        self.model.train()
        torch.manual_seed(0)  # drop-path draws alike
        losses = self.losses()
        losses["loss"].backward()
        gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        self.model.zero_grad(set_to_none=False)
        return {**{name: term.detach() for name, term in losses.items()}, "gradients": norm}

    def _official_losses(self, official: Official) -> Callable[[], dict[str, Tensor]]:
        return lambda: official.pretrain(self.pairs, self.masks)

    def _our_embeddings(self, modality: str, inputs: Inputs) -> Tensor:
        embeddings: Tensor = self.model.onepeace(**inputs).embeddings[modality]
        return embeddings

    def _our_losses(self) -> dict[str, Tensor]:
        output = self.model(masks=self.masks, **self.pairs)
        return {"loss": output.loss, **output.losses}


def measured(side: Side, asked: dict[str, Any]) -> dict[str, Any]:
    forget_peak()
    before, started = peak_bytes(), time.perf_counter()
    found = side.run(asked["scenario"], alone=asked["alone"])
    seconds = time.perf_counter() - started
    peak = peak_bytes() - before
    if asked["save"] is not None:
        torch.save(found, asked["save"])
    return {"seconds": seconds, "peak_bytes": peak, "load_average": os.getloadavg()[0]}


def main() -> None:
    answers = os.fdopen(os.dup(1), "w", buffering=1)  # libraries print to standard output
    os.dup2(2, 1)
    options = json.loads(sys.argv[1])
    torch.set_num_threads(options["threads"])
    model = OnePeaceForPretraining.from_pretrained(options["model"], dtype=torch.float32)
    side = Side(options["side"], model, Amounts())
    print(json.dumps({"ready": True}), file=answers)
    for line in sys.stdin:
        print(json.dumps(measured(side, json.loads(line))), file=answers)
        forget_peak()


if __name__ == "__main__":
    main()
