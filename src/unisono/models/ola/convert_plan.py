"""Which tensor goes where: every official key to one of ours, and ours to the output shards.

Nothing is read but headers. A plan either fills every parameter of the model, or is refused.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import initialization

from unisono.errors import ModelConfigError
from unisono.models.key_table import Transform, rename
from unisono.models.ola.config import OlaConfig
from unisono.models.ola.convert_keys import is_ignored, rules_for
from unisono.models.ola.convert_official import OfficialTensor
from unisono.models.ola.convert_sources import Reader, TensorFile
from unisono.models.ola.model import OlaForConditionalGeneration

Shape = tuple[int, ...]
_NAMED = 4
"""Keys that an error names; of the others it gives the number."""


@dataclass(frozen=True)
class PlannedTensor:
    """A tensor of ours and where it comes from.

    Attributes:
        key: ours.
        dtype, shape: ours.
        source: where it is.
        transform: what is done with it on the way.
        copies: where else it is; they must be equal.
    """

    key: str
    dtype: torch.dtype
    shape: Shape
    source: OfficialTensor
    transform: Transform | None
    copies: tuple[OfficialTensor, ...] = ()

    @property
    def size_bytes(self) -> int:
        """Of the tensor's values."""
        count = 1
        for side in self.shape:
            count *= side
        return count * self.dtype.itemsize

    def ours(self, official: Tensor) -> Tensor:
        """The tensor as it is written."""
        changed = self.transform(official) if self.transform else official
        return changed.to(self.dtype).contiguous()


def plan_tensors(
    official: Mapping[str, OfficialTensor], config: OlaConfig, dtype: torch.dtype | None
) -> list[PlannedTensor]:
    """A place for every tensor, and a tensor for every place.

    Args:
        official: official key -> where the tensor is.
        config: of the model to be filled.
        dtype: of what is written; None keeps each tensor's own.

    Returns:
        In the order in which they are best read: file by file.

    Raises:
        ModelConfigError: keys are unknown, missing or have no place in the model, or shapes
            differ.
    """
    planned, unknown = _planned(official, config.text_config.tie_word_embeddings, dtype)
    wanted = expected_shapes(config)
    faults = {
        "not in the key table": unknown,
        "missing": wanted.keys() - planned.keys(),
        "without a place in the model": [
            f"{planned[key].source.key} ({key})" for key in planned.keys() - wanted.keys()
        ],
        "of another shape": [
            f"{key} {list(planned[key].shape)} instead of {list(wanted[key])}"
            for key in planned.keys() & wanted.keys()
            if planned[key].shape != wanted[key]
        ],
    }
    if told := "; ".join(f"{name}: {listed(keys)}" for name, keys in faults.items() if keys):
        raise ModelConfigError(f"the checkpoint does not fit the model; {told}")
    return sorted(planned.values(), key=lambda one: (one.source.file.path.name, one.source.key))


def _planned(
    official: Mapping[str, OfficialTensor], tied_head: bool, dtype: torch.dtype | None
) -> tuple[dict[str, PlannedTensor], list[str]]:
    """Our key -> its tensor, and the official keys that no row is about."""
    rules = rules_for(tied_head=tied_head)
    sources: dict[str, list[tuple[OfficialTensor, Transform | None]]] = {}
    unknown = []
    for key in sorted(official):
        if is_ignored(key):
            continue
        if (match := rename(rules, key)) is None:
            unknown.append(key)
        else:
            sources.setdefault(match[0], []).append((official[key], match[1]))
    planned = {}
    for ours, ((source, transform), *others) in sources.items():
        shape = _shape_after(source.info.shape, transform)
        own = source.info.dtype
        kind = dtype if dtype is not None and own.is_floating_point else own
        copies = tuple(copy for copy, _ in others)
        planned[ours] = PlannedTensor(ours, kind, shape, source, transform, copies)
    return planned, unknown


def _shape_after(shape: Shape, transform: Transform | None) -> Shape:
    if transform is None:
        return shape
    return tuple(transform(torch.empty(shape, device="meta")).shape)


def expected_shapes(config: OlaConfig) -> dict[str, Shape]:
    """Every tensor a checkpoint of such a model has: key -> shape. Takes no memory."""
    with torch.device("meta"), initialization.no_init_weights():
        model = OlaForConditionalGeneration(config)
    tied = model.all_tied_weights_keys
    return {k: tuple(v.shape) for k, v in model.state_dict().items() if k not in tied}


def listed(keys: Iterable[str]) -> str:
    """The first few keys, and how many there are."""
    every = sorted(keys)
    first = ", ".join(every[:_NAMED])
    return first if len(every) <= _NAMED else f"{first}, … ({len(every)} in all)"


@dataclass(frozen=True)
class Shard:
    """A file to be written.

    Attributes:
        name: of the file.
        tensors: in the order of their bytes: wide kinds first, so that all are aligned.
    """

    name: str
    tensors: tuple[PlannedTensor, ...]


def pack(tensors: Sequence[PlannedTensor], limit_bytes: int) -> list[Shard]:
    """Divide tensors, in their order, into shards of at most `limit_bytes` (or one tensor)."""
    groups: list[list[PlannedTensor]] = [[]]
    filled = 0
    for tensor in tensors:
        if groups[-1] and filled + tensor.size_bytes > limit_bytes:
            groups.append([])
            filled = 0
        groups[-1].append(tensor)
        filled += tensor.size_bytes
    return [
        Shard(
            shard_name(index, len(groups)),
            tuple(sorted(group, key=lambda one: -one.dtype.itemsize)),
        )
        for index, group in enumerate(groups)
    ]


def shard_name(index: int, count: int) -> str:
    """The name transformers looks for."""
    return "model.safetensors" if count == 1 else f"model-{index + 1:05}-of-{count:05}.safetensors"


def read_sources(tensors: Sequence[PlannedTensor]) -> Iterator[tuple[PlannedTensor, Tensor]]:
    """Each tensor as it is to be written.

    One source file is open at a time, and none of its tensors outlives its turn, so that no
    more memory is taken than a file and a tensor.

    Raises:
        ModelConfigError: copies of one tensor differ.
    """
    current: TensorFile | None = None
    with ExitStack() as stack:
        for planned in tensors:
            if planned.source.file is not current:
                stack.close()
                current = planned.source.file
                read = stack.enter_context(current.opened())
            official = read(planned.source.key)
            _check_copies(planned, official, read)
            yield planned, planned.ours(official)
            del official


def _check_copies(planned: PlannedTensor, official: Tensor, read: Reader) -> None:
    for copy in planned.copies:
        inside = copy.file is planned.source.file
        with nullcontext(read) if inside else copy.file.opened() as read_copy:
            if not same_bits(read_copy(copy.key), official):
                raise ModelConfigError(
                    f"{copy.key} must equal {planned.source.key}: both become {planned.key}"
                )


def same_bits(one: Tensor, other: Tensor) -> bool:
    """Whether kind, shape and every bit agree; unlike `==`, NaN equals itself and -0 is not 0."""
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    return torch.equal(as_bytes(one), as_bytes(other))


def as_bytes(tensor: Tensor) -> Tensor:
    """[…] of any kind -> [bytes] uint8, without a copy where the tensor is contiguous."""
    return tensor.contiguous().flatten().view(torch.uint8)
