"""The C interface of llama.cpp, as it stands in the xllamacpp wheel.

xllamacpp ships llama.cpp compiled for many processors; its own Python interface speaks text,
while an omni-modal model must feed embeddings. The C functions of llama.cpp are exported by
the same file, so they are called here through ctypes. Structures below are those of llama.h
of exactly this release: `VERSION` is pinned in pyproject.toml, and `load` refuses another one
or defaults that are not llama.cpp's (docs/decisions/0002-cpu-engine.md).
"""

import ctypes
from ctypes import POINTER, c_bool, c_char_p, c_float, c_int8, c_int32, c_size_t, c_uint32, c_void_p
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

import torch

VERSION = "2026.10.11549"

LOAD_READ = 0
"""`enum llama_load_mode`: read the file. What llama.cpp arranges anew for the processor (Q4_0)
would be in memory twice if the file were mapped, which is the default."""


class ModelParams(ctypes.Structure):
    """`struct llama_model_params`."""

    _fields_ = (
        ("devices", c_void_p),
        ("tensor_buft_overrides", c_void_p),
        ("n_gpu_layers", c_int32),
        ("split_mode", c_int32),
        ("load_mode", c_int32),
        ("lazy_mode", c_int32),
        ("main_gpu", c_int32),
        ("tensor_split", c_void_p),
        ("progress_callback", c_void_p),
        ("progress_callback_user_data", c_void_p),
        ("kv_overrides", c_void_p),
        ("vocab_only", c_bool),
        ("check_tensors", c_bool),
        ("use_extra_bufts", c_bool),
        ("no_host", c_bool),
        ("no_alloc", c_bool),
        ("load_mtp", c_bool),
    )


class ContextParams(ctypes.Structure):
    """`struct llama_context_params`."""

    _fields_ = (
        ("n_ctx", c_uint32),
        ("n_batch", c_uint32),
        ("n_ubatch", c_uint32),
        ("n_seq_max", c_uint32),
        ("n_rs_seq", c_uint32),
        ("n_outputs_max", c_uint32),
        ("n_outputs_max_per_seq", c_uint32),
        ("n_threads", c_int32),
        ("n_threads_batch", c_int32),
        ("ctx_type", c_int32),
        ("rope_scaling_type", c_int32),
        ("pooling_type", c_int32),
        ("attention_type", c_int32),
        ("flash_attn_type", c_int32),
        ("rope_freq_base", c_float),
        ("rope_freq_scale", c_float),
        ("yarn_ext_factor", c_float),
        ("yarn_attn_factor", c_float),
        ("yarn_beta_fast", c_float),
        ("yarn_beta_slow", c_float),
        ("yarn_orig_ctx", c_uint32),
        ("defrag_thold", c_float),
        ("cb_eval", c_void_p),
        ("cb_eval_user_data", c_void_p),
        ("type_k", c_int32),
        ("type_v", c_int32),
        ("moe_cache_size", c_size_t),
        ("abort_callback", c_void_p),
        ("abort_callback_data", c_void_p),
        ("embeddings", c_bool),
        ("offload_kqv", c_bool),
        ("no_perf", c_bool),
        ("op_offload", c_bool),
        ("swa_full", c_bool),
        ("kv_unified", c_bool),
        ("samplers", c_void_p),
        ("n_samplers", c_size_t),
        ("ctx_other", c_void_p),
    )


class Batch(ctypes.Structure):
    """`struct llama_batch`."""

    _fields_ = (
        ("n_tokens", c_int32),
        ("token", POINTER(c_int32)),
        ("embd", POINTER(c_float)),
        ("pos", POINTER(c_int32)),
        ("n_seq_id", POINTER(c_int32)),
        ("seq_id", POINTER(POINTER(c_int32))),
        ("logits", POINTER(c_int8)),
    )


_LogCallback = ctypes.CFUNCTYPE(None, ctypes.c_int, c_char_p, c_void_p)
_silent = _LogCallback(lambda _level, _text, _data: None)  # kept alive: C holds a pointer to it

_SIGNATURES = {
    "llama_log_set": (None, (_LogCallback, c_void_p)),
    "llama_backend_init": (None, ()),
    "llama_model_default_params": (ModelParams, ()),
    "llama_context_default_params": (ContextParams, ()),
    "llama_model_load_from_file": (c_void_p, (c_char_p, ModelParams)),
    "llama_model_free": (None, (c_void_p,)),
    "llama_model_n_embd": (c_int32, (c_void_p,)),
    "llama_model_n_ctx_train": (c_int32, (c_void_p,)),
    "llama_model_get_vocab": (c_void_p, (c_void_p,)),
    "llama_vocab_n_tokens": (c_int32, (c_void_p,)),
    "llama_vocab_is_eog": (c_bool, (c_void_p, c_int32)),
    "llama_init_from_model": (c_void_p, (c_void_p, ContextParams)),
    "llama_free": (None, (c_void_p,)),
    "llama_get_memory": (c_void_p, (c_void_p,)),
    "llama_memory_clear": (None, (c_void_p, c_bool)),
    "llama_memory_seq_rm": (c_bool, (c_void_p, c_int32, c_int32, c_int32)),
    "llama_set_n_threads": (None, (c_void_p, c_int32, c_int32)),
    "llama_batch_init": (Batch, (c_int32, c_int32, c_int32)),
    "llama_batch_free": (None, (Batch,)),
    "llama_batch_get_one": (Batch, (POINTER(c_int32), c_int32)),
    "llama_decode": (c_int32, (c_void_p, Batch)),
    "llama_get_logits_ith": (POINTER(c_float), (c_void_p, c_int32)),
    "llama_adapter_lora_init": (c_void_p, (c_void_p, c_char_p)),
    "llama_set_adapters_lora": (
        c_int32,
        (c_void_p, POINTER(c_void_p), c_size_t, POINTER(c_float)),
    ),
}


def unavailable() -> str | None:
    """Why llama.cpp cannot be used here, or None when it can."""
    if torch.backends.cpu.get_cpu_capability() in {"DEFAULT", "NO AVX"}:
        return "the wheel of llama.cpp needs a processor with AVX2"
    try:
        installed = version("xllamacpp")
    except PackageNotFoundError:
        return "xllamacpp is not installed"
    if installed != VERSION:
        return f"xllamacpp must be {VERSION}, but is {installed}"
    try:
        load()
    except (OSError, AttributeError, RuntimeError) as error:
        return f"llama.cpp does not load: {error}"
    return None


@cache
def load() -> ctypes.CDLL:
    """The library, its functions typed, its log silent; the same object every time."""
    spec = find_spec("xllamacpp.xllamacpp")
    if spec is None or spec.origin is None:
        raise OSError("xllamacpp has no compiled part")
    library = ctypes.CDLL(spec.origin)
    for name, (result, arguments) in _SIGNATURES.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    library.llama_log_set(_silent, None)
    library.llama_backend_init()
    _check_layout(library)
    return library


def _check_layout(library: ctypes.CDLL) -> None:
    """Read llama.cpp's documented defaults through our structures: a shifted field shows."""
    context, model = library.llama_context_default_params(), library.llama_model_default_params()
    seen = (context.n_ctx, context.n_batch, context.n_seq_max, context.type_k, context.type_v)
    if seen != (512, 2048, 1, 1, 1) or not context.offload_kqv or not model.use_extra_bufts:
        raise RuntimeError("the structures of llama.h are not those of this release")
