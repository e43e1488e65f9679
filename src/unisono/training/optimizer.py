"""AdamW over groups of parameters: which of them learn how fast, and which decay."""

import re
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from unisono.errors import CheckpointError, RecipeError
from unisono.training.distributed import local
from unisono.training.recipe import OptimizerSettings

PartOf = Callable[[str], str]
DepthOf = Callable[[str], tuple[int, int] | None]
"""Name of a parameter -> (its place from 0, places of its stack), or None outside of any."""

NEVER_DECAYS = re.compile(r"position|bias|relative|(^|\.)query$")
"""Biases, tables of relative positions, positions, the query of an attention pool. By their shape:
scalars and single vectors, [1, 1, D] too (norms, LayerScale, [CLS], newlines, mask tokens)."""

_MOMENTS = ("exp_avg", "exp_avg_sq", "step")


def make_optimizer(
    parameters: Mapping[str, nn.Parameter],
    settings: OptimizerSettings,
    *,
    part_of: PartOf,
    depth_of: DepthOf | None = None,
) -> torch.optim.AdamW:
    """AdamW as a recipe says. A group's `lr_factor` is what its parts and layers make of `lr`.

    Args:
        parameters: those that train, sharded or not.
        settings: of the stage.
        part_of: name -> part, of which `lr_factors` speaks.
        depth_of: for layer-wise decay.

    Raises:
        RecipeError: nothing trains.
    """
    if not parameters:
        raise RecipeError("a stage must train something, but all parameters are frozen")
    groups: dict[tuple[float, bool, bool], list[nn.Parameter]] = defaultdict(list)
    for name, parameter in parameters.items():
        factor = lr_factor(name, settings, part_of=part_of, depth_of=depth_of)
        # torch computes a group at once, and pieces and whole tensors do not mix.
        groups[factor, decays(name, parameter), isinstance(parameter, DTensor)].append(parameter)
    return torch.optim.AdamW(
        [
            {
                "params": members,
                "lr": settings.lr * factor,
                "lr_factor": factor,
                "weight_decay": settings.weight_decay if decaying else 0.0,
            }
            for (factor, decaying, _), members in groups.items()
        ],
        betas=settings.betas,
        eps=settings.eps,
        fused=True,
    )


def lr_factor(
    name: str, settings: OptimizerSettings, *, part_of: PartOf, depth_of: DepthOf | None
) -> float:
    """What a parameter's part and layer make of the learning rate.

    Place p of P has layer_decay^(P - 1 - p): the last one has all of it.
    """
    factor = settings.lr_factors.get(part_of(name), 1.0)
    depth = None if depth_of is None else depth_of(name)
    if depth is None:
        return factor
    place, places = depth
    return float(factor * settings.layer_decay ** (places - 1 - place))


def decays(name: str, parameter: Tensor) -> bool:
    """Whether weight decay is for a parameter; see `NEVER_DECAYS`."""
    is_vector = parameter.numel() == max(parameter.shape, default=1)
    return not is_vector and NEVER_DECAYS.search(name) is None


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Give every group its share of a learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["lr_factor"]


def moments(
    optimizer: torch.optim.Optimizer, parameters: Mapping[str, nn.Parameter]
) -> dict[str, Tensor]:
    """What AdamW remembers: "exp_avg/<name>" and so on; of sharded parameters this rank's piece."""
    return {
        f"{kind}/{name}": local(optimizer.state[parameter][kind]).detach()
        for name, parameter in parameters.items()
        if parameter in optimizer.state  # never had a gradient
        for kind in _MOMENTS
    }


def restore_moments(
    optimizer: torch.optim.Optimizer,
    parameters: Mapping[str, nn.Parameter],
    saved: Mapping[str, Tensor],
) -> None:
    """Undo `moments`.

    Raises:
        CheckpointError: they are of parameters of other shapes.
    """
    optimizer.state.clear()
    for name, parameter in parameters.items():
        if f"step/{name}" not in saved:
            continue
        piece = local(parameter.detach())
        state: dict[str, Any] = {"step": saved[f"step/{name}"].to(piece.device, copy=True)}
        for kind in _MOMENTS[:2]:
            value = saved[f"{kind}/{name}"]
            if value.shape != piece.shape:
                raise CheckpointError(
                    f"the optimizer's state of {name} must be {list(piece.shape)}, but is "
                    f"{list(value.shape)} in the checkpoint"
                )
            state[kind] = _like(parameter, value.to(piece.device, copy=True))
        optimizer.state[parameter] = state


def _like(parameter: nn.Parameter, piece: Tensor) -> Tensor:
    if not isinstance(parameter, DTensor):
        return piece
    return DTensor.from_local(
        piece,
        parameter.device_mesh,
        parameter.placements,
        shape=parameter.shape,
        stride=parameter.stride(),
    )
