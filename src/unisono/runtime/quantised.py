"""An Ola folder with its language model quantised: encoders in torch, the rest in llama.cpp.

The language model is written once as a GGUF file into the cache and then read from there; its
own weights are never all in memory.
"""

import os
from pathlib import Path

import torch
from transformers import GenerationConfig

from unisono.engines import llama_api
from unisono.engines.gguf_export import Quantization, exported, gguf_path
from unisono.engines.gguf_file import TokenEmbeddings
from unisono.engines.llama_engine import LlamaEngine
from unisono.engines.settings import stop_ids
from unisono.errors import ModelConfigError, UnknownModelError
from unisono.hub import terminal_progress
from unisono.models import OlaProcessor
from unisono.models.ola.encoders_only import load_encoders
from unisono.runtime.answer import Reader


def quantised_reader(
    folder: str | os.PathLike[str],
    quantization: Quantization,
    *,
    dtype: torch.dtype = torch.float32,
    context_length: int,
) -> Reader:
    """Load the folder's processor, its encoders and its quantised language model.

    Args:
        folder: written by `save_pretrained`.
        quantization: of the language model's weights.
        dtype: of the encoders.
        context_length: tokens a conversation may have.

    Raises:
        UnknownModelError: there is no such folder.
        ModelConfigError: its language model cannot be quantised, or llama.cpp not be used here.
        CacheError: the cache cannot be written, or has no room.
    """
    if reason := llama_api.unavailable():
        raise ModelConfigError(f"quantised inference needs llama.cpp, and {reason}")
    folder = Path(folder)
    if not folder.is_dir():
        raise UnknownModelError(f"to be quantised, a model must be a folder; '{folder}' is none")
    processor = OlaProcessor.from_pretrained(folder)
    text_config = processor.config.text_config
    derived = exported(folder, text_config, quantization, progress=terminal_progress())
    path = gguf_path(derived)
    engine = LlamaEngine(
        path,
        TokenEmbeddings(path, derived),
        context_length=context_length,
        stop_ids=stop_ids(_generation_config(folder), text_config),
    )
    return Reader(processor, engine, load_encoders(folder, dtype=dtype))


def _generation_config(folder: Path) -> GenerationConfig | None:
    try:
        return GenerationConfig.from_pretrained(folder)
    except OSError:
        return None
