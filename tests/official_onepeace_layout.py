"""ONE-PEACE as its authors publish it: a fairseq file, and vocabulary files beside it."""

import json
from pathlib import Path

import tiny_onepeace
import torch
from tokenizers.pre_tokenizers import ByteLevel

from unisono.models import OnePeaceModel
from unisono.models.onepeace.convert import to_official_state

MERGES = [("Ġ", "d"), ("Ġd", "o"), ("Ġdo", "g"), ("Ġ", "a"), ("'", "s")]


def write_vocabulary(folder: Path) -> list[str]:
    """encoder.json, vocab.bpe and dict.txt; returns the tokens in fairseq's order."""
    tokens = [*sorted(ByteLevel.alphabet()), *(left + right for left, right in MERGES)]
    (folder / "encoder.json").write_text(json.dumps({t: i for i, t in enumerate(tokens)}))
    lines = ["#version: 0.2", *(f"{left} {right}" for left, right in MERGES), ""]
    (folder / "vocab.bpe").write_text("\n".join(lines))
    order = list(reversed(range(len(tokens))))
    listed = [f"{i} {9 - n}" for n, i in enumerate(order)] + ["madeupword0000 0"]
    (folder / "dict.txt").write_text("\n".join(listed) + "\n")
    return ["<s>", "<pad>", "</s>", "<unk>", *(tokens[i] for i in order), "madeupword0000"]


def write_checkpoint(path: Path) -> OnePeaceModel:
    """A random retrieval model in the official form; the same in ours."""
    text = {"vocab_size": 280, "position_buckets": 8, "max_position_embeddings": 80}
    config = tiny_onepeace.tiny_config(text_config=text)
    model: OnePeaceModel = tiny_onepeace.randomised(OnePeaceModel(config))
    torch.save({"model": to_official_state(model), "cfg": None}, path)
    return model
