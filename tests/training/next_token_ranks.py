"""Run by torchrun on two ranks: gradients of different batches against those of one process.

    python -m torch.distributed.run --nproc-per-node 2 next_token_ranks.py ddp|fsdp FAMILY CACHE

The first rank's batch has text alone, the second's has media, so that only the second needs the
encoders and connectors. Prints the largest relative difference of a gradient.
"""

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

sys.path.insert(0, str(Path(__file__).parents[1]))

import olas

from unisono.models.ola import OlaForConditionalGeneration
from unisono.training import goals
from unisono.training.distributed import leave
from unisono.training.feature_cache import EncoderCache, FeatureStore
from unisono.training.objectives.next_token import NextToken
from unisono.training.packing import LabelledPrompt


def sharded(model: OlaForConditionalGeneration) -> nn.Module:
    """As accelerate does it: the head stands in a group with the last norm, not with the rest."""
    language_model = model.language_model
    decoder, head = language_model.model, language_model.lm_head
    for layer in decoder.layers:
        fully_shard(layer)
    fully_shard(model.encoders)
    if head.weight is decoder.embed_tokens.weight:
        fully_shard([decoder.norm, decoder.embed_tokens, head], reshard_after_forward=False)
    else:
        fully_shard(decoder.embed_tokens)
        fully_shard([decoder.norm, head], reshard_after_forward=False)
    return fully_shard(model)


def frozen_encoders(model: OlaForConditionalGeneration) -> OlaForConditionalGeneration:
    model.encoders.hearing.requires_grad_(False)
    model.encoders.vision.requires_grad_(False)
    return model


def in_one_process(
    family: str, work: NextToken, parts: list[list[LabelledPrompt]]
) -> OlaForConditionalGeneration:
    model = frozen_encoders(olas.ola(family, speech=True, vision=True)[0])
    for part in parts:
        work.loss(model, work.collate(part)[0], draw=0).loss.backward()
    return model


def difference(model: nn.Module, expected: nn.Module) -> float:
    """Ranks' gradients are averaged, so they are half the sum's."""
    worst = 0.0
    for (name, mine), theirs in zip(model.named_parameters(), expected.parameters(), strict=True):
        if theirs.grad is None:
            continue
        if mine.grad is None:
            raise RuntimeError(f"{name} has no gradient")
        whole = mine.grad.full_tensor() if hasattr(mine.grad, "full_tensor") else mine.grad
        scale = float(theirs.grad.abs().max()) + 1e-9
        worst = max(worst, float((2 * whole - theirs.grad).abs().max()) / scale)
    return worst


def main() -> None:
    way, family, folder = sys.argv[1:]
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    model, processor = olas.ola(family, speech=True, vision=True)
    cache = EncoderCache(frozen_encoders(model).encoders, FeatureStore(Path(folder), 10**8))
    work = NextToken(processor, goals.NextToken(), cache=cache, loss_chunk=4)
    picture, text, sound, both = map(work.prepare, olas.rows())
    parts = [[text], [picture, sound, both]]
    plain = NextToken(processor, goals.NextToken(), loss_chunk=4)
    expected = in_one_process(family, plain, parts)
    wrapped = sharded(model) if way == "fsdp" else DistributedDataParallel(model)
    worst = 0.0
    for _ in range(2):  # the second time, all features are known
        model.zero_grad(set_to_none=True)
        inputs, _ = work.collate(parts[dist.get_rank()])
        work.loss(wrapped, inputs, draw=0).loss.backward()
        worst = max(worst, difference(model, expected))
    if dist.get_rank() == 0:
        print(worst)
    del wrapped
    leave()


if __name__ == "__main__":
    main()
