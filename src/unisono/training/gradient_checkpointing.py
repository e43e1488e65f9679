"""Activations recomputed in the backward pass, to save memory."""

from typing import Any, cast

from torch import nn

from unisono.errors import RecipeError

_NAMES = ("activation_checkpointing_enable", "gradient_checkpointing_enable")
"""The method's, in transformers from 5.23 on and before."""


def enable_gradient_checkpointing(model: nn.Module) -> None:
    """Let a model recompute its layers' activations, as transformers' models know how to.

    Args:
        model: one of transformers', or one that has such inside.

    Raises:
        RecipeError: it does not know how to.
    """
    able = [one for one in (model, *model.children()) if _method(one)]
    if not able:
        raise RecipeError(
            f"gradient_checkpointing must be false: a {type(model).__name__} cannot recompute "
            "activations"
        )
    for one in able[:1] if able[0] is model else able:
        # The re-entrant kind gives no gradients where a layer's input needs none.
        getattr(cast(Any, one), _method(one))({"use_reentrant": False})


def _method(model: nn.Module) -> str:
    # A PeftModel hands on what it lacks, so `hasattr` is right there too.
    return next((name for name in _NAMES if hasattr(model, name)), "")
