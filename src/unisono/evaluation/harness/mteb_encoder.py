"""A representation model for MTEB (arXiv 2210.07316): tasks of texts, pictures and sounds.

    import mteb
    from unisono.evaluation.harness.mteb_encoder import MtebEncoder

    mteb.evaluate(MtebEncoder("onepeace-nano"), mteb.get_task("CIFAR10ZeroShot"))

Shapes: N inputs, D width.
"""

from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unisono.errors import MissingExtraError, UnsupportedModalityError
from unisono.runtime import load_embedder
from unisono.runtime.embedder import Embedder, Item, Vector

_KINDS = ("text", "image", "audio", "video")


class MtebEncoder:
    """What MTEB calls an encoder (`mteb.models.EncoderProtocol`).

    An input of several modalities is fused as `Embedder.embed` does. Titles and instructions come
    joined with the text, as MTEB joins them; the model has no prompts.
    """

    def __init__(self, model: str | Embedder, revision: str | None = None, **_: Any) -> None:
        """Take a model.

        Args:
            model: of the catalog, a folder, or one already loaded.
            revision: for MTEB's results; nothing is chosen by it.

        Raises:
            MissingExtraError: mteb is not installed.
        """
        self.embedder = load_embedder(model) if isinstance(model, str) else model
        self.mteb_model_meta = _meta(self.embedder, revision)

    def encode(
        self,
        inputs: Any,
        *,
        task_metadata: Any,
        hf_split: str,
        hf_subset: str,
        prompt_type: Any = None,
        batch_size: int = 16,
        **_: Any,
    ) -> Vector:
        """Embed what a DataLoader of MTEB gives.

        Args:
            inputs: batches, mappings of text, image, audio or video to lists.
            task_metadata, hf_split, hf_subset, prompt_type: no meaning for this model.
            batch_size: inputs that pass the encoder together.

        Returns:
            float32 [N, D], rows of length 1.

        Raises:
            UnsupportedModalityError: an input has none of the modalities.
        """
        inputs.collate_fn = _listed  # MTEB's own would decode and stack sounds
        items = [item for batch in inputs for item in _items(batch)]
        return self.embedder.embed(items, batch_size=batch_size)

    def similarity(self, one: Any, other: Any) -> Tensor:
        """[N, D] and [M, D] -> cosines [N, M]."""
        return _tensor(one) @ _tensor(other).T

    def similarity_pairwise(self, one: Any, other: Any) -> Tensor:
        """[N, D] and [N, D] -> cosines [N]."""
        return (_tensor(one) * _tensor(other)).sum(-1)


def _listed(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    return {name: [row[name] for row in rows] for name in rows[0]}


def _items(batch: Mapping[str, Sequence[Any]]) -> Iterator[Item]:
    kinds = [kind for kind in _KINDS if kind in batch]
    if not kinds:
        raise UnsupportedModalityError(
            f"inputs must have some of {', '.join(_KINDS)}, but have {', '.join(batch)} instead"
        )
    for values in zip(*(batch[kind] for kind in kinds), strict=True):
        yield {k: _source(k, value) for k, value in zip(kinds, values, strict=True)}


def _source(kind: str, value: Any) -> Any:
    """As `unisono.media` opens it: sounds come as {"array": …, "sampling_rate": …}, or encoded."""
    if kind != "audio":
        return value
    if isinstance(value, Mapping) and value.get("array") is None:
        return value.get("bytes") or value["path"]
    samples = np.asarray(value["array"], dtype=np.float32)
    return np.clip(samples, -1.0, 1.0), int(value["sampling_rate"])


def _tensor(vectors: Any) -> Tensor:
    return torch.as_tensor(np.asarray(vectors), dtype=torch.float32)


def _meta(embedder: Embedder, revision: str | None) -> Any:
    try:
        meta = import_module("mteb.models.model_meta")
    except ImportError as error:
        raise MissingExtraError("mteb", "mteb") from error
    known = {
        "name": f"unisono/{embedder.name}" if "/" not in embedder.name else embedder.name,
        "revision": revision or embedder.fingerprint[:40] or None,
        "embed_dim": embedder.width,
        "n_parameters": sum(p.numel() for p in embedder.model.parameters()),
        "similarity_fn_name": meta.ScoringFunction.COSINE,
        "framework": ["PyTorch", "Transformers"],
        "use_instructions": False,
        "modalities": [m for m in _KINDS if m in embedder.model.config.modalities],
    }
    return meta.ModelMeta.create_empty(known)
