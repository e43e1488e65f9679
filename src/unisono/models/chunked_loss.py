"""Cross-entropy of a language model's head at label positions only, a chunk of them at a time.

The full logits are the largest tensor of a training step (16,384 tokens x 151,936 words are 10 GB
in float32), and most of it is at positions that have no label. Here only positions with a label
reach the head, in chunks, and each chunk's logits become its gradient before the next is made:
nothing is recomputed in the backward pass.

torch 2.13's `linear_cross_entropy` does alike, but rounds a sum to the head's precision, which in
bfloat16 leaves three digits of a loss.

Shapes: B batch, T tokens, L positions with a label, C positions of a chunk, D width, V words.
"""

from typing import Any, TypeGuard

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.checkpoint import checkpoint

from unisono.errors import ModelConfigError

IGNORED = -100


def summed_label_loss(hidden: Tensor, labels: Tensor, head: nn.Module, chunk: int) -> Tensor:
    """The sum of the cross-entropies of all next tokens that have a label.

    Args:
        hidden: [B, T, D], what the head reads.
        labels: [B, T], -100 where nothing is learned; hidden state t is to predict label t + 1.
        head: [..., D] -> [..., V]. A plain `nn.Linear` takes the fast path; of any other (one with
            an adapter, say) the logits are made once more in the backward pass.
        chunk: positions whose logits exist at once.

    Returns:
        float32 scalar; without labels zero, which gradients of zero flow from.

    Raises:
        ModelConfigError: the head has an adapter and is sharded by FSDP.
    """
    targets = labels[:, 1:].to(hidden.device)
    learned = targets != IGNORED
    rows, targets = hidden[:, :-1][learned], targets[learned]  # [L, D], [L]
    if _is_plain(head):
        return _inside(head, rows, targets, chunk)
    if hasattr(head, "unshard"):
        # Called once a chunk, its gradients would be reduced chunk by chunk, and be wrong.
        raise ModelConfigError("FSDP cannot shard a head that has an adapter: leave the head out")
    parts = zip(torch.split(rows, chunk), torch.split(targets, chunk), strict=True)
    return torch.stack([_recomputed(head, *part) for part in parts]).sum()


def _is_plain(head: nn.Module) -> TypeGuard[nn.Linear]:
    """Whether calling it is its linear map and nothing else (but FSDP's gathering)."""
    same = getattr(type(head), "forward", None) is nn.Linear.forward
    return same and "forward" not in vars(head)


def _inside(head: nn.Linear, rows: Tensor, targets: Tensor, chunk: int) -> Tensor:
    """The loss, computed in a call of the head: FSDP gathers its weights around calls only."""

    def forward(rows: Tensor) -> Tensor:
        tensors = (rows, head.weight, head.bias)
        loss: Tensor = _SummedCrossEntropy.apply(targets, chunk, *tensors)  # type: ignore[no-untyped-call]
        return loss

    vars(head)["forward"] = forward
    try:
        loss: Tensor = head(rows)
    finally:
        del vars(head)["forward"]
    return loss


def _recomputed(head: nn.Module, rows: Tensor, targets: Tensor) -> Tensor:
    """One chunk through a head of any kind."""

    def loss(rows: Tensor) -> Tensor:
        return cross_entropy(head(rows).float(), targets, reduction="sum")

    result: Tensor = checkpoint(loss, rows, use_reentrant=False)
    return result


class _SummedCrossEntropy(torch.autograd.Function):
    """Its gradients are made in the forward pass, in the precision autocast has the head in."""

    @staticmethod
    def forward(  # noqa: PLR0917 -- autograd gives them in their order
        ctx: Any, targets: Tensor, chunk: int, rows: Tensor, weight: Tensor, bias: Tensor | None
    ) -> Tensor:
        """[L], C, [L, D], [V, D] and [V] -> scalar."""
        gradients = _Gradients(ctx.needs_input_grad[2:], (rows, weight, bias))
        dtype = _head_dtype(weight)
        loss = torch.zeros((), dtype=torch.float32, device=rows.device)
        with torch.autocast(rows.device.type, enabled=False):
            words = weight.to(dtype)
            for start in range(0, len(rows), chunk):
                part = slice(start, start + chunk)
                read = rows[part].to(dtype)
                logits = (read @ words.T).float()  # [C, V]
                if bias is not None:
                    logits += bias.float()
                loss += _loss_into_gradient(logits, targets[part])
                gradients.add(part, logits.to(dtype), read, words)
        ctx.gradients = gradients
        return loss

    @staticmethod
    def backward(ctx: Any, factor: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients times the loss's own; they are scaled in place, so only once."""
        if ctx.gradients is None:
            raise RuntimeError("the chunked loss can go through one backward pass only")
        gradients, ctx.gradients = ctx.gradients, None
        return (None, None, *gradients.scaled(factor))


def _loss_into_gradient(logits: Tensor, targets: Tensor) -> Tensor:
    """The summed loss of a chunk [C, V]; `logits` becomes its gradient."""
    wanted = logits.gather(1, targets[:, None])
    normaliser = logits.logsumexp(dim=1, keepdim=True)
    logits.sub_(normaliser).exp_()
    logits.scatter_add_(1, targets[:, None], torch.full_like(wanted, -1.0))
    return (normaliser - wanted).sum()


class _Gradients:
    """Those that are wanted; a frozen head costs none.

    What many chunks add to is kept in float32: in bfloat16 the last chunks would be rounded away.
    """

    def __init__(self, wanted: tuple[bool, ...], tensors: tuple[Tensor | None, ...]) -> None:
        rows, weight, bias = (
            tensor if is_wanted else None for is_wanted, tensor in zip(wanted, tensors, strict=True)
        )
        self.rows = None if rows is None else torch.empty_like(rows)
        self.weight = None if weight is None else torch.zeros_like(weight, dtype=torch.float32)
        self.bias = None if bias is None else torch.zeros_like(bias, dtype=torch.float32)
        self._dtypes = tuple(None if one is None else one.dtype for one in tensors)

    def add(self, part: slice, logits: Tensor, read: Tensor, words: Tensor) -> None:
        """Of a chunk's logits [C, V], the rows read [C, D] and the words [V, D]."""
        if self.rows is not None:
            self.rows[part] = logits @ words
        if self.bias is not None:
            self.bias += logits.sum(dim=0, dtype=torch.float32)
        if self.weight is None:
            return
        if self.weight.dtype == read.dtype:
            self.weight.addmm_(logits.T, read)
        else:
            self.weight += logits.T @ read

    def scaled(self, factor: Tensor) -> tuple[Tensor | None, ...]:
        """All of them, times the gradient of what was made of the loss."""
        every = zip((self.rows, self.weight, self.bias), self._dtypes, strict=True)
        return tuple(None if one is None else one.mul_(factor).to(dtype) for one, dtype in every)


def _head_dtype(weight: Tensor) -> torch.dtype:
    kind = weight.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else weight.dtype
