"""What a GGUF file holds beside the layers: its tokenizer and its token embeddings.

Reading these takes seconds (a hundred thousand strings, one by one), so the result is kept in
a folder: the tokenizer in transformers' form, and where the embedding rows lie in the file.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_LAYOUT = "embeddings.json"
_TABLE = "token_embd.weight"


class TokenEmbeddings:
    """The rows of a GGUF file's embedding table, dequantised as they are asked for."""

    def __init__(self, path: Path, folder: Path) -> None:
        """Open the table of `path`, described in `folder` by `prepare`."""
        layout = json.loads((folder / _LAYOUT).read_text())
        self.model_type: str = layout["model_type"]
        self._type: int = layout["type"]
        self._bytes = np.memmap(
            path, mode="r", offset=layout["offset"], shape=tuple(layout["shape"]), dtype=np.uint8
        )

    def rows(self, ids: Sequence[int]) -> np.ndarray:
        """float32 [T, D]."""
        from gguf import GGMLQuantizationType, quants

        raw = np.asarray(self._bytes[np.asarray(ids, dtype=np.int64)])
        return np.asarray(quants.dequantize(raw, GGMLQuantizationType(self._type)), np.float32)


def load_tokenizer(folder: Path) -> "PreTrainedTokenizerBase":
    """The tokenizer in a folder made by `prepare`."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


def prepare(path: Path, folder: Path) -> None:
    """Write the tokenizer and the embedding table's place into `folder`, unless it is there.

    The folder appears whole or not at all.
    """
    if (folder / _LAYOUT).exists():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".unfinished-"))
    try:
        _write(path, temporary)
        os.replace(temporary, folder)
    except OSError:
        if not (folder / _LAYOUT).exists():  # otherwise another process was faster
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write(path: Path, folder: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    tokenizer.save_pretrained(folder)
    describe(path, folder)


def describe(path: Path, folder: Path) -> None:
    """Write into `folder` where the embedding table of `path` lies, for `TokenEmbeddings`."""
    from gguf import GGUFReader

    reader = GGUFReader(path)
    table = next(tensor for tensor in reader.tensors if tensor.name == _TABLE)
    types = {t.tensor_type.name for t in reader.tensors if t.name.startswith("blk.")}
    rows = int(table.data.shape[0])
    layout = {
        "offset": int(table.data_offset),
        "shape": [rows, int(table.n_bytes) // rows],  # in bytes
        "type": int(table.tensor_type),
        "model_type": "+".join(sorted(types - {"F32"})) or "F32",
    }
    (folder / _LAYOUT).write_text(json.dumps(layout))
