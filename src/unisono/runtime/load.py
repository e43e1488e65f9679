"""From a name to something that answers, or makes vectors: `load`."""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from transformers import AutoModelForCausalLM, GenerationConfig, PreTrainedConfig

from unisono.engines import Engine, GenerationSettings, TorchEngine, llama_api
from unisono.engines.gguf_export import Quantization
from unisono.engines.gguf_file import TokenEmbeddings, load_tokenizer, prepare
from unisono.engines.llama_engine import LlamaEngine
from unisono.errors import ModelConfigError, UnisonoError, UnknownModelError, VoiceError
from unisono.hub import ModelEntry, default_cache_folder, fetch_part, load_catalog
from unisono.models import OlaConfig, OlaForConditionalGeneration, OlaProcessor
from unisono.models.ola.lora import merge_adapter
from unisono.runtime.answer import Reader
from unisono.runtime.assistant import Assistant
from unisono.runtime.load_embedder import is_embedding_model, load_embedder
from unisono.runtime.quantised import quantised_reader
from unisono.speech import Listener, PiperVoice, Voice, WhisperListener

EngineName = Literal["auto", "torch", "llama.cpp"]
DEFAULT_LISTENER = "whisper-base-ct2"
DEFAULT_VOICE = "piper-en-us-joe-medium"


def load(name: str | os.PathLike[str] = "ola-nano", **options: Any) -> Any:
    """Load a model by name.

    Args:
        name: see `load_assistant`, `load_embedder`.
        **options: theirs.

    Returns:
        An `Embedder` for a folder with a representation model, else an `Assistant`. (Not a union
        for type checkers: who knows which one it is, writes `assistant = load(…)` without a cast.)
    """
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
        adapter: a LoRA adapter that PEFT saved, to add to a folder's language model.

    Raises:
        UnknownModelError: there is no such model.
        HubError: a part cannot be had.
        ModelConfigError: the engine cannot run the model here.
    """
    if is_embedding_model(name):
        raise ModelConfigError(f"the model in '{name}' makes vectors, and answers nothing")
    entry = _catalog_entry(name)
    _check_choices(entry, quantization, adapter, engine, device)
    parts = entry.parts if entry else {}
    # Before the model: a wrong name should not wait for it.
    make_listener = _listener_maker(listener or parts.get("listener", DEFAULT_LISTENER))
    make_voice = _voice_maker(voice or parts.get("voice", DEFAULT_VOICE))
    if entry is not None:
        reader = _catalog_reader(entry, engine, device, dtype, context_length)
    elif quantization is not None:
        with _plain_faults(name):
            reader = quantised_reader(
                name, quantization, dtype=_dtype("cpu", dtype), context_length=context_length
            )
    else:
        reader = _folder_reader(name, engine, device, dtype, adapter)
    return Assistant(
        reader,
        name=str(name),
        defaults=_defaults(name if entry is None else entry),
        language=language,
        make_listener=make_listener,
        make_voice=make_voice,
    )


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
    engine: EngineName,
    device: str | torch.device | None,
) -> None:
    """What cannot go together is refused before anything is fetched."""
    if (quantization or adapter) and entry is not None:
        raise ModelConfigError(
            "quantization and adapter are for models in a folder; "
            f"the language model of {entry.name!r} is a quantised file already"
        )
    if quantization and adapter:
        raise ModelConfigError(
            "an adapter cannot be added to a quantised model: load it without quantization, save "
            "the merged model, and quantise that"
        )
    if quantization and (engine == "torch" or _device(device).type != "cpu"):
        raise ModelConfigError(
            "quantised inference runs on a CPU, with llama.cpp, only: say device='cpu', and "
            "leave engine at 'auto'; on a GPU, load the model without quantization"
        )


def _catalog_reader(
    entry: ModelEntry,
    engine: EngineName,
    device: str | torch.device | None,
    dtype: torch.dtype | None,
    context_length: int,
) -> Reader:
    part = load_catalog().part(entry.parts["language_model"])
    gguf = fetch_part(part.name) / part.files[0].name
    derived = default_cache_folder() / "derived" / part.files[0].sha256[:16]
    prepare(gguf, derived)
    with _shipped(entry) as folder:
        config = OlaConfig.from_pretrained(folder)
    processor = OlaProcessor(load_tokenizer(derived), config)
    if _use_llama(engine, device, dtype):
        embeddings = TokenEmbeddings(gguf, derived)
        return Reader(processor, LlamaEngine(gguf, embeddings, context_length=context_length))
    return Reader(processor, _gguf_in_torch(gguf, config.text_config, device, dtype))


def _shipped(entry: ModelEntry) -> AbstractContextManager[Path]:
    """The folder of a catalog model's configs and weights inside this package."""
    return as_file(files("unisono") / "weights" / entry.name)


def _defaults(model: ModelEntry | str | os.PathLike[str]) -> GenerationSettings:
    """The model's own generation settings, where it has any."""
    try:
        if isinstance(model, ModelEntry):
            with _shipped(model) as folder:
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


def _use_llama(
    engine: EngineName, device: str | torch.device | None, dtype: torch.dtype | None
) -> bool:
    if engine not in get_args(EngineName):
        raise ModelConfigError(
            f"engine must be one of {', '.join(get_args(EngineName))}, but is {engine!r} instead"
        )
    if engine == "torch":
        return False
    reason = llama_api.unavailable()
    if engine == "llama.cpp" and reason:
        raise ModelConfigError(f"the engine llama.cpp cannot run here: {reason}")
    on_cpu = _device(device).type == "cpu" and dtype is None
    return engine == "llama.cpp" or (on_cpu and not reason)


def _gguf_in_torch(
    gguf: Path,
    config: PreTrainedConfig,
    device: str | torch.device | None,
    dtype: torch.dtype | None,
) -> Engine:
    # Without our config transformers reads the file's header twice, which takes seconds.
    model = AutoModelForCausalLM.from_pretrained(
        gguf.parent, config=config, gguf_file=gguf.name, dtype=_dtype(device, dtype)
    )
    # transformers goes on calling the dequantised weights quantised, and would neither save nor
    # train them.
    if (quantizer := getattr(model, "hf_quantizer", None)) is not None:
        quantizer.remove_quantization_config(model)
    return TorchEngine(model.to(_device(device)))


def _folder_reader(
    name: str | os.PathLike[str],
    engine: EngineName,
    device: str | torch.device | None,
    dtype: torch.dtype | None,
    adapter: str | os.PathLike[str] | None,
) -> Reader:
    if engine == "llama.cpp":
        raise ModelConfigError(
            "the engine llama.cpp reads models of the catalog, and folders with a quantization"
        )
    with _plain_faults(name):
        processor = OlaProcessor.from_pretrained(name)
        model: Any = OlaForConditionalGeneration.from_pretrained(name, dtype=_dtype(device, dtype))
    model = model.to(_device(device)).eval()
    model = model if adapter is None else merge_adapter(model, adapter)
    return Reader(processor, TorchEngine(model.language_model), model.encoders)


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


def _device(device: str | torch.device | None) -> torch.device:
    return torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))


def _dtype(device: str | torch.device | None, dtype: torch.dtype | None) -> torch.dtype:
    return dtype or (torch.bfloat16 if _device(device).type == "cuda" else torch.float32)
