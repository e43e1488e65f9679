"""A GGUF file's weights at eight bits, for several conversations in one pass.

llama.cpp multiplies several rows at once with weights of some types only: with Q8_0 sixteen rows
take six times as long as one, with Q4_1 eleven times (xllamacpp on AVX2, two cores). For one row
both take the same time. What Q4_1 says, Q8_0 says too, to 0.4 % of the largest weight of each 32.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from unisono.hub import Cache, Progress, QuietProgress

_FILE = "model.gguf"
_FORMAT = 1
"""Part of the cache's key: one more whenever the files written here change."""


def at_eight_bits(path: Path, *, progress: Progress | None = None) -> Path:
    """The same model with its quantised matrices in Q8_0, from the cache or written there now.

    Args:
        path: a GGUF file.
        progress: told how far it is.

    Raises:
        CacheError: the cache cannot be written.
    """
    stat = path.stat()
    facts = json.dumps([_FORMAT, "Q8_0", path.name, stat.st_size, stat.st_mtime_ns])
    key = hashlib.sha256(facts.encode()).hexdigest()[:16]

    def write(new: Path) -> None:
        _write(path, new / _FILE, progress or QuietProgress())

    return Cache.at(None).derived(key, write) / _FILE


def _write(source: Path, target: Path, progress: Progress) -> None:
    from gguf import GGMLQuantizationType, GGUFReader, GGUFWriter, LlamaFileType, quants

    reader = GGUFReader(source)
    writer = GGUFWriter(target, _text(reader, "general.architecture"))
    _copy_metadata(reader, writer)
    writer.add_file_type(LlamaFileType.MOSTLY_Q8_0)
    progress.start("8-bit weights", sum(int(tensor.n_bytes) for tensor in reader.tensors), 0)
    try:
        for tensor in reader.tensors:
            kind, data = tensor.tensor_type, tensor.data
            if kind not in (GGMLQuantizationType.F32, GGMLQuantizationType.F16):
                data = quants.quantize(
                    quants.dequantize(data, kind), kind := GGMLQuantizationType.Q8_0
                )
            writer.add_tensor(tensor.name, data, raw_dtype=kind)
            progress.advance(int(tensor.n_bytes))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
    finally:
        writer.close()
        progress.finish()


def _text(reader: Any, key: str) -> str:
    return str(reader.get_field(key).contents())


def _copy_metadata(reader: Any, writer: Any) -> None:
    # The writer says the architecture itself; "GGUF." is what the reader counted.
    own = {"general.architecture", "general.file_type"}
    for key, field in reader.fields.items():
        if key not in own and not key.startswith("GGUF."):
            inner = field.types[-1] if len(field.types) > 1 else None
            writer.add_key_value(key, field.contents(), field.types[0], sub_type=inner)
