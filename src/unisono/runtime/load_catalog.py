"""Models of the catalog: a language model that is fetched, and what this package ships around it.

    unisono/weights/<name>/config.json        what the model is
                           model.safetensors  its encoders and connectors, for a model that has any
                           adapter/           a LoRA adapter for the language model, if it has one

Weights of others are never shipped: the language model and Whisper's encoder are parts of the
catalog, fetched and verified by the hub.
"""

import hashlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from importlib.resources import as_file, files
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedConfig

from unisono.engines import Engine, TorchEngine
from unisono.engines.adapter_file import merge_adapter
from unisono.engines.gguf_file import TokenEmbeddings, load_tokenizer, prepare
from unisono.engines.gguf_requantise import at_eight_bits
from unisono.engines.llama_adapter import adapter_gguf
from unisono.engines.llama_engine import LlamaEngine
from unisono.engines.shared_llama import SharedLlamaEngine
from unisono.errors import IncompleteFileError
from unisono.hub import ModelEntry, Part, default_cache_folder, fetch_part, load_catalog
from unisono.models import OlaConfig, OlaForConditionalGeneration, OlaProcessor
from unisono.models.ola import OlaEncoders
from unisono.models.ola.encoders_only import encoders_of
from unisono.models.whisper_weights import DEFAULT_PART, whisper_encoder_weights
from unisono.runtime.answer import Reader
from unisono.runtime.late_encoders import LateEncoders
from unisono.runtime.placement import Placement

WEIGHTS, ADAPTER = "model.safetensors", "adapter"
_SPEECH = "encoders.hearing.speech."


def shipped(entry: ModelEntry) -> AbstractContextManager[Path]:
    """The folder of a catalog model's configs and weights inside this package."""
    return as_file(files("unisono") / "weights" / entry.name)


def shipped_digest(entry: ModelEntry) -> str:
    """Of the bytes of what this package ships for a model: the same wherever it is installed."""
    digest = hashlib.sha256()
    with shipped(entry) as folder:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            digest.update(path.relative_to(folder).as_posix().encode() + b"\0")
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


def catalog_reader(
    entry: ModelEntry, placement: Placement, adapters: Sequence[Path] = ()
) -> Reader:
    """Load a catalog model: its language model now, its encoders when they are needed.

    Args:
        entry: of kind "ola".
        placement: what computes it, and where.
        adapters: LoRA adapters that PEFT saved, to add to the language model after the one that
            is shipped with it.

    Raises:
        HubError: a part cannot be had.
        IncompleteFileError: this installation lacks the shipped weights.
        ModelConfigError: the engine cannot run here; or an adapter does not fit.
    """
    part = load_catalog().part(entry.parts["language_model"])
    use_llama = placement.uses_llama()
    gguf = fetch_part(part.name) / part.files[0].name
    derived = _prepared(part, gguf)
    with shipped(entry) as folder:
        config = OlaConfig.from_pretrained(folder)
        own = [folder / ADAPTER] if (folder / ADAPTER).is_dir() else []
        every = [*own, *adapters]
        engine: Engine
        if use_llama:
            table = TokenEmbeddings(gguf, derived)
            make: Callable[..., LlamaEngine] = partial(LlamaEngine, gguf, table)
            if placement.conversations > 1:
                make = partial(
                    SharedLlamaEngine,
                    at_eight_bits(gguf),
                    table,
                    conversations=placement.conversations,
                )
            engine = make(
                context_length=placement.context_length,
                adapters=[adapter_gguf(one, config.text_config) for one in every],
            )
        else:
            engine = _gguf_in_torch(gguf, config.text_config, placement, every)
        encoders = _late_encoders(entry, config, folder, placement)
    return Reader(OlaProcessor(load_tokenizer(derived), config), engine, encoders)


def _prepared(part: Part, gguf: Path) -> Path:
    """The folder of the cache with the GGUF file's tokenizer."""
    derived = default_cache_folder() / "derived" / part.files[0].sha256[:16]
    prepare(gguf, derived)
    return derived


def _gguf_in_torch(
    gguf: Path, config: PreTrainedConfig, placement: Placement, adapters: Sequence[Path]
) -> Engine:
    # Without our config transformers reads the file's header twice, which takes seconds.
    model = AutoModelForCausalLM.from_pretrained(
        gguf.parent, config=config, gguf_file=gguf.name, dtype=placement.torch_dtype
    )
    # transformers goes on calling the dequantised weights quantised, and would neither save nor
    # train them.
    if (quantizer := getattr(model, "hf_quantizer", None)) is not None:
        quantizer.remove_quantization_config(model)
    for adapter in adapters:
        merge_adapter(model, adapter)
    return TorchEngine(model.to(placement.torch_device))


def _late_encoders(
    entry: ModelEntry, config: OlaConfig, folder: Path, placement: Placement
) -> LateEncoders | None:
    """None for a model that reads text only.

    Raises:
        IncompleteFileError: there should be encoders, but they were not shipped.
    """
    if not (config.vision_config or config.speech_config or config.sound_config):
        return None
    if not (folder / WEIGHTS).is_file():
        raise IncompleteFileError(f"this installation of Unisono lacks the weights of {entry.name}")

    def load() -> OlaEncoders:
        encoders = encoders_of(config, shipped_weights(entry, config), dtype=placement.torch_dtype)
        return encoders.to(placement.torch_device)

    return LateEncoders(load)


def make_as_shipped(model: OlaForConditionalGeneration, entry: ModelEntry, folder: Path) -> None:
    """Give a whole model around the original language model what this package ships for it.

    Args:
        model: changed in place; its adapter is merged into the language model.
        entry: of kind "ola".
        folder: of `shipped`.

    Raises:
        IncompleteFileError: the file of weights is cut short, or missing.
        HubError: the part with Whisper cannot be had.
        ModelConfigError: the weights or the adapter do not fit.
    """
    if any(True for _ in model.encoders.parameters()):
        weights = shipped_weights(entry, model.config)
        model.encoders.load_state_dict(encoders_of(model.config, weights).state_dict())
    if (folder / ADAPTER).is_dir():
        merge_adapter(model.language_model, folder / ADAPTER)


def shipped_weights(entry: ModelEntry, config: OlaConfig) -> dict[str, Tensor]:
    """All weights of a catalog model's encoders: those of this package, and of its Whisper part.

    Args:
        entry: of kind "ola".
        config: its.

    Returns:
        Name in `OlaForConditionalGeneration` ("encoders.…") -> values.

    Raises:
        IncompleteFileError: the file of weights is cut short, or missing.
        HubError, ModelConfigError: the part with Whisper cannot be had, or does not fit.
    """
    with shipped(entry) as folder:
        try:
            weights = load_file(folder / WEIGHTS)
        except (OSError, SafetensorError) as error:
            raise IncompleteFileError(
                f"the weights of {entry.name} cannot be read: {error}"
            ) from error
    if config.speech_config is None or any(key.startswith(_SPEECH) for key in weights):
        return weights
    part = entry.parts.get("speech_encoder", DEFAULT_PART)
    speech = whisper_encoder_weights(config.speech_config, part)
    return weights | {f"{_SPEECH}{key}": tensor for key, tensor in speech.items()}
