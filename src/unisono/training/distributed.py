"""One process or many: who computes where, and what is exchanged.

On several ranks a model is replicated (DDP) or sharded (FSDP2). accelerate finds the devices,
starts the process group and knows the trackers; sharding is done here, since accelerate does not
choose FSDP on a CPU.

A rule for objectives: all that reads parameters happens inside of one call `model(...)` per
micro-batch. Outside of it a sharded parameter is a piece, and a replicated one is not averaged.
When sharded, all ranks call the same layers; a rank without a modality passes zeros through.
A unit of sharding is called as a whole, or by a method that its class names in `other_forwards`.
"""

import contextlib
import gc
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.parallel import DistributedDataParallel
from transformers.modeling_layers import GradientCheckpointingLayer

from unisono.errors import MissingExtraError
from unisono.training.recipe import Distribution

T = TypeVar("T")


class Ranks:
    """The processes of a run, seen from one of them.

    Attributes:
        accelerator: of accelerate.
        rank, world: number of this process, and how many there are.
        device: that this one computes on.
        sharded: whether models are sharded rather than replicated.
    """

    def __init__(
        self,
        distribution: Distribution = "auto",
        *,
        trackers: Iterable[str] = (),
        log_folder: str | None = None,
    ) -> None:
        """Join the other processes, if torchrun has started any.

        Args:
            distribution: "auto" and "ddp" replicate; one process neither replicates nor shards.
            trackers: of accelerate's, by name.
            log_folder: where they write.

        Raises:
            MissingExtraError: accelerate is not installed.
        """
        try:
            from accelerate import Accelerator
        except ImportError as error:
            raise MissingExtraError("accelerate", "train") from error
        self.accelerator = Accelerator(
            # Unless told, it leaves the ranks of a machine without a GPU to themselves.
            cpu=not torch.accelerator.is_available(),
            log_with=list(trackers) or None,
            project_dir=log_folder,
        )
        self.rank: int = self.accelerator.process_index
        self.world: int = self.accelerator.num_processes
        self.device: torch.device = self.accelerator.device
        self.sharded = distribution == "fsdp" and self.world > 1

    @property
    def is_main(self) -> bool:
        """Whether this process writes what is written once."""
        return self.rank == 0

    def wrap(self, model: nn.Module) -> nn.Module:
        """Move a model to the device, and replicate or shard it there.

        Sharding is in place: the model's parameters become DTensors.
        """
        model.to(self.device)
        if self.world == 1:
            return model
        if self.sharded:
            return self._shard(model)
        # Not every batch has every modality, so not every parameter has a gradient.
        return DistributedDataParallel(
            model,
            device_ids=None if self.device.type == "cpu" else [self.device],
            find_unused_parameters=True,
        )

    def _shard(self, model: nn.Module) -> nn.Module:
        for tensor in (*model.parameters(), *model.buffers()):
            dist.broadcast(tensor.data, 0)
        mesh = init_device_mesh(self.device.type, (self.world,))
        # FSDP knows no scalars: they stay whole, see `average_scalars`.
        scalars = {parameter for parameter in model.parameters() if not parameter.ndim}
        for unit in (*sharding_units(model), model):
            fully_shard(unit, mesh=mesh, ignored_params=scalars)
            for name in getattr(unit, "other_forwards", ()):
                register_fsdp_forward_method(unit, name)
        return model

    def without_exchange(self, model: nn.Module) -> AbstractContextManager[None]:
        """Gradients of a backward pass inside stay with their rank until one outside.

        Of a sharded model they are exchanged all the same: kept, they would take the memory that
        sharding is to save.
        """
        if isinstance(model, DistributedDataParallel):
            return cast(AbstractContextManager[None], model.no_sync())
        return contextlib.nullcontext()

    def average_scalars(self, parameters: Iterable[nn.Parameter]) -> None:
        """Exchange what FSDP leaves out, after the last backward pass of a step."""
        if not self.sharded:
            return
        for parameter in parameters:
            if not isinstance(parameter, DTensor):
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
                dist.all_reduce(parameter.grad)
                parameter.grad /= self.world

    def gradient_norm(self, parameters: Iterable[nn.Parameter]) -> float:
        """Euclidean norm of all gradients together, the same on all ranks."""
        replicated: list[Tensor] = []
        pieces: list[Tensor] = []
        for parameter in parameters:
            if parameter.grad is not None:
                kind = pieces if isinstance(parameter.grad, DTensor) else replicated
                kind.append(local(parameter.grad))
        squares = _sum_of_squares(pieces, self.device)
        if self.sharded:
            dist.all_reduce(squares)
        return math.sqrt(float(squares + _sum_of_squares(replicated, self.device)))

    def gather(self, value: T) -> list[T]:
        """The values of all ranks, on all ranks; small ones, that can be pickled."""
        if self.world == 1:
            return [value]
        values: list[Any] = [None] * self.world
        dist.all_gather_object(values, value)
        return values

    def barrier(self) -> None:
        """Wait for all ranks."""
        self.accelerator.wait_for_everyone()


def leave() -> None:
    """End the process group of this process, if there is one, when all ranks are done.

    To be called last, with no replicated model alive. One that outlives its group is freed by
    Python with the interpreter's lock in hand, while it waits for a thread of gloo's that may be
    waiting for that lock to drop the last exchange: a process that never ends. The barrier gives
    that thread its turn.
    """
    if dist.is_initialized():
        gc.collect()
        dist.barrier()
        dist.destroy_process_group()


def sharding_units(model: nn.Module) -> list[nn.Module]:
    """The modules whose parameters are gathered together, none inside of another.

    What transformers does not split among devices (`_no_split_modules`); in models that do not
    say, their layers.
    """
    names = {
        name
        for module in model.modules()
        for name in getattr(module, "_no_split_modules", ()) or ()
    }
    return list(_outermost(model, names))


def _outermost(module: nn.Module, names: set[str]) -> Iterator[nn.Module]:
    for child in module.children():
        is_unit = type(child).__name__ in names if names else _is_layer(child)
        yield from [child] if is_unit else _outermost(child, names)


def _is_layer(module: nn.Module) -> bool:
    return isinstance(module, GradientCheckpointingLayer)


def local(tensor: Tensor) -> Tensor:
    """What this rank has of a tensor; it shares its memory."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def whole(tensor: Tensor) -> Tensor:
    """All of a tensor, on the CPU; all ranks must ask for it. Not a copy, if nothing is moved."""
    tensor = tensor.detach()
    gathered = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
    return gathered.cpu()


def put(target: Tensor, value: Tensor) -> None:
    """Write a whole tensor into one that may be sharded; all ranks must do it."""
    with torch.no_grad():
        value = value.to(target.device)
        if isinstance(target, DTensor):
            value = distribute_tensor(value, target.device_mesh, target.placements)
        target.copy_(value)


def trained_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Those that train, by the name they have in the model that was wrapped."""
    inner = model.module if isinstance(model, DistributedDataParallel) else model
    return {name: one for name, one in inner.named_parameters() if one.requires_grad}


def moved(inputs: Mapping[str, Any], device: torch.device) -> Mapping[str, Any]:
    """A batch's tensors on a device, also those in lists and dictionaries."""
    from accelerate.utils import send_to_device

    return cast(Mapping[str, Any], send_to_device(dict(inputs), device, non_blocking=True))


def _sum_of_squares(tensors: list[Tensor], device: torch.device) -> Tensor:
    if not tensors:
        return torch.zeros((), device=device)
    norms = torch._foreach_norm(tensors)
    return torch.stack([norm.float() for norm in norms]).square().sum()
