"""The adapters of several stages as one.

Each stage trains an adapter on the weights that the stage before left, its adapter merged. What
they add up to is one adapter whose rank is the sum of theirs, or the best one of a smaller rank.

Shapes: R rank, I inputs, O outputs of an adapted layer.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unisono.engines.adapter_file import CONFIG, Adapted

_LANGUAGE_MODEL = "language_model."

Layers = Mapping[str, Adapted]
"""Name of a layer of the language model -> what is added to it."""


def summed(adapters: Sequence[Layers]) -> dict[str, Adapted]:
    """One adapter that adds what all of them add; layers that no stage trained are left out."""
    layers: dict[str, Adapted] = {}
    for adapter in adapters:
        for name, one in adapter.items():
            if bool(one.up.any()):
                layers[name] = _stacked(layers[name], one) if name in layers else one
    return layers


def _stacked(one: Adapted, other: Adapted) -> Adapted:
    """B A + B' A' = [B B'] [A; A']."""
    return Adapted(torch.cat([one.down, other.down]), torch.cat([one.up, other.up], dim=1))


def reduced(layers: Layers, rank: int) -> tuple[dict[str, Adapted], float]:
    """The nearest adapter of at most this rank, and which share of the norm is lost.

    By singular values, layer by layer (Eckart and Young): exact where a layer's rank is no larger.

    Returns:
        The adapter, and |lost| / |all| over all layers (Frobenius), between 0 and 1.
    """
    smaller, lost, whole = {}, 0.0, 0.0
    for name, one in layers.items():
        smaller[name], squares = _nearest(one, rank)
        lost += float(squares[rank:].sum())
        whole += float(squares.sum())
    return smaller, (lost / whole) ** 0.5 if whole else 0.0


def _nearest(one: Adapted, rank: int) -> tuple[Adapted, Tensor]:
    """And the squares of all singular values, in falling order."""
    # B A = Q (R R'^T) Q'^T: only the small matrix in the middle is decomposed.
    outputs, left = torch.linalg.qr(one.up.double())
    inputs, right = torch.linalg.qr(one.down.double().T)
    u, values, v = torch.linalg.svd(left @ right.T)
    roots = values[:rank].sqrt()
    up = (outputs @ u[:, :rank]) * roots
    down = roots[:, None] * (v[:rank] @ inputs.T)
    return Adapted(down.float(), up.float()), values.square()


def write_config(layers: Layers, folder: Path) -> None:
    """adapter_config.json, as PEFT writes it. The factors are in B already: alpha = rank."""
    ranks = {f"{_LANGUAGE_MODEL}{name}": one.down.shape[0] for name, one in layers.items()}
    most = max(ranks.values())
    others = {name: rank for name, rank in ranks.items() if rank != most}
    settings: dict[str, Any] = {
        "peft_type": "LORA",
        "task_type": None,
        "r": most,
        "lora_alpha": most,
        "rank_pattern": others,
        "alpha_pattern": others,
        "target_modules": sorted(ranks),
        "lora_dropout": 0.0,
        "bias": "none",
        "inference_mode": True,
    }
    (folder / CONFIG).write_text(json.dumps(settings, indent=1, sort_keys=True))


def adapter_state(layers: Layers) -> dict[str, Tensor]:
    """The tensors of an adapter, by PEFT's names for one of an Ola."""
    state: dict[str, Tensor] = {}
    for name, one in layers.items():
        key = f"base_model.model.{_LANGUAGE_MODEL}{name}"
        state |= {f"{key}.lora_A.weight": one.down, f"{key}.lora_B.weight": one.up}
    return state
