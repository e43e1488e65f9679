"""From a name to something that answers, or makes vectors: `load`."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, get_args

import torch
from transformers import GenerationConfig

from unisono.engines import GenerationSettings, TorchEngine
from unisono.engines.gguf_export import Quantization
from unisono.errors import ModelConfigError, UnisonoError, UnknownModelError, VoiceError
from unisono.hub import ModelEntry, fetch_part, load_catalog
from unisono.models import OlaConfig, OlaForConditionalGeneration, OlaProcessor
from unisono.models.ola.config import Hearing
from unisono.models.ola.lora import merge_adapter
from unisono.runtime.answer import Reader
from unisono.runtime.assistant import Assistant
from unisono.runtime.load_catalog import catalog_reader, shipped
from unisono.runtime.load_embedder import is_embedding_model, load_embedder
from unisono.runtime.load_predictor import is_task_model, load_predictor
from unisono.runtime.placement import EngineName, Placement
from unisono.runtime.quantised import quantised_reader
from unisono.speech import Listener, PiperVoice, Voice, WhisperListener

DEFAULT_LISTENER = "whisper-base-ct2"
DEFAULT_VOICE = "piper-en-us-joe-medium"


def load(name: str | os.PathLike[str] = "ola-nano", **options: Any) -> Any:
    """Load a model by name.

    Args:
        name: see `load_assistant`, `load_embedder`, `load_predictor`.
        **options: theirs.

    Returns:
        An `Embedder` for a representation model, a `Predictor` for one with a head, else an
        `Assistant`. (Not a union for type
        checkers: who knows which one it is, writes `assistant = load(…)` without a cast.)
    """
    if is_task_model(name):
        return load_predictor(name, **options)
    if is_embedding_model(name):
        return load_embedder(name, **options)
    return load_assistant(name, **options)


def load_assistant(  # noqa: PLR0913 -- all but the first by name
    name: str | os.PathLike[str] = "ola-nano",
    *,
    engine: EngineName = "auto",
    device: str | torch.device | None = None,
    dtype: torch.dtype | None = None,
    listener: "Listener | str | None" = None,
    voice: "Voice | str | os.PathLike[str] | None" = None,
    language: str | None = None,
    context_length: int = 4096,
    quantization: Quantization | None = None,
    adapter: str | os.PathLike[str] | None = None,
    hearing: Hearing | None = None,
    conversations: int = 1,
) -> Assistant:
    """Load a model that answers; what is not on this machine is fetched and verified.

    Args:
        name: a model of the catalog (`unisono models`), a folder written by `save_pretrained`,
            or a repository of a model hub ("owner/name").
        engine: "auto" takes llama.cpp on a CPU where it runs (docs/decisions), else torch.
        device: for torch; by default CUDA where there is one.
        dtype: of the weights in torch; by default bfloat16 on CUDA, float32 on a CPU.
        listener: a `Listener`, or the name of a part of the catalog.
        voice: a `Voice`, the name of a part of the catalog, or the path of a Piper .onnx file.
        language: what is spoken to the listener, as an ISO 639-1 code, or "auto" to find out; by
            default what the model's config says.
        context_length: tokens a conversation may have, where the engine reserves memory for it.
        quantization: of a folder's language model, "int8" or "int4", stepped by llama.cpp on the
            CPU; the encoders stay in torch, in `dtype`. The first time writes a file of about a
            half or 30 % of the language model's size (in bfloat16) into the cache.
        adapter: a LoRA adapter that PEFT saved, to add to the language model.
        hearing: how the words of sounds reach the model: through its "connector", as a "listener"
            wrote them down, or "both"; by default what its config says.
        conversations: that several threads may hold at the same time, decoded together where the
            engine can do that (llama.cpp; see `Engine.conversations` of what was loaded).

    Raises:
        UnknownModelError: there is no such model.
        HubError: a part cannot be had.
        ModelConfigError: the engine cannot run the model here.
    """
    if is_embedding_model(name):
        raise ModelConfigError(f"the model in '{name}' makes vectors, and answers nothing")
    entry = _catalog_entry(name)
    placement = Placement(engine, device, dtype, context_length, conversations)
    _check_choices(entry, quantization, adapter, placement)
    parts = entry.parts if entry else {}
    # Before the model: a wrong name should not wait for it.
    make_listener = _listener_maker(listener or parts.get("listener", DEFAULT_LISTENER))
    make_voice = _voice_maker(voice or parts.get("voice", DEFAULT_VOICE))
    if entry is not None:
        reader = catalog_reader(entry, placement, () if adapter is None else (Path(adapter),))
    elif quantization is not None:
        with _plain_faults(name):
            reader = quantised_reader(
                name, quantization, dtype=placement.torch_dtype, context_length=context_length
            )
    else:
        reader = _folder_reader(name, placement, adapter)
    _choose_hearing(reader.processor.config, hearing)
    return Assistant(
        reader,
        name=str(name),
        defaults=_defaults(name if entry is None else entry),
        language=language,
        make_listener=make_listener,
        make_voice=make_voice,
    )


def _choose_hearing(config: OlaConfig, hearing: Hearing | None) -> None:
    """What the caller says goes, where the model can do it.

    Raises:
        ModelConfigError: it cannot, or there is no such way.
    """
    if hearing is None:
        return
    if hearing not in get_args(Hearing):
        raise ModelConfigError(
            f"hearing must be one of {', '.join(get_args(Hearing))}, but is {hearing!r} instead"
        )
    if hearing != "listener" and config.speech_config is None and config.sound_config is None:
        raise ModelConfigError(
            f"hearing must be 'listener' for a model without a hearing encoder, but is {hearing!r}"
        )
    config.hearing = hearing


def _catalog_entry(name: str | os.PathLike[str]) -> ModelEntry | None:
    """The catalog's entry; None for a folder or a hub repository."""
    catalog = load_catalog()
    if name in catalog.models:
        return catalog.models[str(name)]
    if Path(name).is_dir() or str(name).count("/") == 1:
        return None
    return catalog.model(str(name))  # raises, and names those that are like it


def _check_choices(
    entry: ModelEntry | None,
    quantization: Quantization | None,
    adapter: str | os.PathLike[str] | None,
    placement: Placement,
) -> None:
    """What cannot go together is refused before anything is fetched."""
    if quantization and entry is not None:
        raise ModelConfigError(
            "quantization is for models in a folder; "
            f"the language model of {entry.name!r} is a quantised file already"
        )
    if quantization and adapter:
        raise ModelConfigError(
            "an adapter cannot be added to a quantised model: load it without quantization, save "
            "the merged model, and quantise that"
        )
    if quantization and (placement.engine == "torch" or placement.torch_device.type != "cpu"):
        raise ModelConfigError(
            "quantised inference runs on a CPU, with llama.cpp, only: say device='cpu', and "
            "leave engine at 'auto'; on a GPU, load the model without quantization"
        )


def _defaults(model: ModelEntry | str | os.PathLike[str]) -> GenerationSettings:
    """The model's own generation settings, where it has any."""
    try:
        if isinstance(model, ModelEntry):
            with shipped(model) as folder:
                config = GenerationConfig.from_pretrained(folder)
        else:
            config = GenerationConfig.from_pretrained(model)
    except OSError:
        return GenerationSettings()
    temperature = 1.0 if config.temperature is None else config.temperature
    sampled = {"temperature": temperature, "top_k": config.top_k, "top_p": config.top_p}
    chosen = sampled if config.do_sample else {}
    chosen |= {
        "max_new_tokens": config.max_new_tokens,
        "repetition_penalty": config.repetition_penalty,
    }
    return GenerationSettings(**{k: v for k, v in chosen.items() if v is not None})


def _folder_reader(
    name: str | os.PathLike[str], placement: Placement, adapter: str | os.PathLike[str] | None
) -> Reader:
    if placement.engine == "llama.cpp":
        raise ModelConfigError(
            "the engine llama.cpp reads models of the catalog, and folders with a quantization"
        )
    with _plain_faults(name):
        processor = OlaProcessor.from_pretrained(name)
        model: Any = OlaForConditionalGeneration.from_pretrained(name, dtype=placement.torch_dtype)
    model = model.to(placement.torch_device).eval()
    model = model if adapter is None else merge_adapter(model, adapter)
    stepped = TorchEngine(model.language_model, generation_config=model.generation_config)
    return Reader(processor, stepped, model.encoders)


@contextmanager
def _plain_faults(name: str | os.PathLike[str]) -> Iterator[None]:
    try:
        yield
    except UnisonoError:
        raise
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UnknownModelError(f"no Ola model can be read from {str(name)!r}: {reason}") from error


def _listener_maker(listener: "Listener | str") -> Callable[[], Listener]:
    if not isinstance(listener, str):
        return lambda: listener
    load_catalog().part(listener)  # an unknown name is refused now, not at the first sound
    return lambda: WhisperListener(fetch_part(listener))


def _voice_maker(voice: "Voice | str | os.PathLike[str]") -> Callable[[], Voice]:
    if not isinstance(voice, str | os.PathLike):
        return lambda: voice
    if Path(voice).suffix == ".onnx":
        if not Path(voice).is_file():
            raise VoiceError(f"there is no voice file '{voice}'")
        return partial(PiperVoice, voice)
    part = load_catalog().part(str(voice))
    model = next((file.name for file in part.files if file.name.endswith(".onnx")), None)
    if model is None:
        raise VoiceError(f"the part {part.name!r} is not a Piper voice")
    return lambda: PiperVoice(fetch_part(part.name) / model)
