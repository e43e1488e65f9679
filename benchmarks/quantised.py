"""What do int8 and int4 cost a real language model, and what do they save?

    python benchmarks/quantised.py [--json-out docs/results/quantised.json]

The language model of ola-nano (SmolLM2-135M) is saved as an Ola folder in bfloat16 and loaded
from it in four ways, each in a process of its own: by torch in float32 (the reference) and in
bfloat16, and quantised to int8 and int4 as `unisono.load(folder, quantization=…)` does it.

The catalog has its weights as Q4_1, a grid of 4 bits, and what lies on one grid says little about
rounding to another. So they are first moved off it without changing the function: the norms'
weights go into the matrices behind them, and channels between two matrices are scaled by random
factors in the first and by their inverses in the second. `function_change` is the largest change
of a logit from that, in float32, before the weights are rounded to bfloat16.

Perplexity is of the first tokens of docs/decisions (0001 to 0003), read one by one; agreement, of
the leading tokens of greedy answers to the prompts of decode.py. Memory is what a process has
grown by after its first answer, mapped pages included; null where there is no /proc. Prints a
table to stderr and one JSON line to stdout.
"""

import argparse
import hashlib
import json
import math
import os
import subprocess
import sys
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from decode_contest import PROMPTS
from decode_report import agreement
from memory import resident_bytes
from report import hardware, publish
from rich.console import Console
from rich.table import Table

import unisono
from unisono.engines.gguf_export import exported, gguf_path
from unisono.models import OlaForConditionalGeneration

PRECISIONS = ("float32", "bfloat16", "int8", "int4")
TEXT_TOKENS, ANSWER_TOKENS = 800, 24


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json-out", type=Path)
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        print(json.dumps(answer(*arguments.worker, **json.load(sys.stdin))))
        return 0
    reader = unisono.load("ola-nano", engine="torch", device="cpu").reader
    work = _work(reader.processor.tokenizer)
    with tempfile.TemporaryDirectory() as temporary:
        change = save_off_grid(reader, work["text"], Path(temporary, "ola"))
        os.environ["UNISONO_CACHE"] = temporary  # the exports are not worth keeping
        rows = [_run(name, Path(temporary, "ola"), reader.processor, work) for name in PRECISIONS]
    digest = hashlib.sha256(json.dumps(work["text"]).encode()).hexdigest()
    settings = {"text_tokens": len(work["text"]), "text_sha256": digest, "prompts": len(PROMPTS)}
    result = {
        "benchmark": "quantised",
        "model": "language model of ola-nano",
        "hardware": hardware(),
        "settings": settings | {"answer_tokens": ANSWER_TOKENS},
        "function_change": change,
        "precisions": _compared(rows, reader.processor.tokenizer.eos_token_id),
    }
    table = Table(*result["precisions"][0])
    for row in result["precisions"]:
        table.add_row(*map(str, row.values()))
    Console(stderr=True).print(table)
    publish(result, arguments.json_out)
    return 0


def _work(tokenizer: Any) -> dict[str, Any]:
    """What every worker is given: the ids of the text and of the prompts."""
    decisions = Path(__file__).parents[1] / "docs" / "decisions"
    text = "".join(path.read_text() for path in sorted(decisions.glob("000[123]-*.md")))
    chats = [[{"role": "user", "content": prompt}] for prompt in PROMPTS]
    how = {"add_generation_prompt": True, "return_dict": False}
    prompts = [tokenizer.apply_chat_template(chat, **how) for chat in chats]
    return {"text": tokenizer(text)["input_ids"][:TEXT_TOKENS], "prompts": prompts}


@torch.no_grad()
def save_off_grid(reader: Any, ids: list[int], folder: Path) -> float:
    """Save the moved model as an Ola folder; the largest change of a logit on `ids`."""
    model, few = reader.engine.model, torch.tensor([ids[:128]])
    before = model(few).logits
    torch.manual_seed(0)
    for layer in model.model.layers:
        _move(layer, model.config.num_attention_heads // model.config.num_key_value_heads)
    change = float((model(few).logits - before).abs().max())
    ola = OlaForConditionalGeneration(reader.processor.config)
    ola.language_model = model
    ola.to(torch.bfloat16).save_pretrained(folder)
    reader.processor.save_pretrained(folder)
    return change


def _move(layer: Any, group: int) -> None:
    """Change a layer's weights, not what it computes; `group` query heads share a value head."""
    heads, mlp = layer.self_attn, layer.mlp
    for norm, *linears in (
        (layer.input_layernorm, heads.q_proj, heads.k_proj, heads.v_proj),
        (layer.post_attention_layernorm, mlp.gate_proj, mlp.up_proj),
    ):
        for linear in linears:
            linear.weight.mul_(norm.weight)
        norm.weight.fill_(1)
    for first, second, copies in (
        (mlp.up_proj, mlp.down_proj, 1),
        (heads.v_proj, heads.o_proj, group),
    ):
        factors = torch.exp(0.1 * torch.randn(first.out_features))
        first.weight.mul_(factors[:, None])
        by_head = factors.view(-1, 1, heads.head_dim).expand(-1, copies, -1)
        second.weight.div_(by_head.reshape(-1))


def _run(precision: str, folder: Path, processor: Any, work: dict[str, Any]) -> dict[str, Any]:
    print(f"measuring {precision}", file=sys.stderr)
    path, copies = folder / "model.safetensors", 2 if precision == "float32" else 1
    if precision in ("int8", "int4"):  # written here, so that the worker only reads it
        path = gguf_path(exported(folder, processor.config.text_config, precision))
    command = [sys.executable, __file__, "--worker", precision, str(folder)]
    ran = subprocess.run(
        command, input=json.dumps(work), text=True, stdout=subprocess.PIPE, check=True
    )
    return json.loads(ran.stdout.splitlines()[-1]) | {"file_mb": copies * path.stat().st_size / 1e6}


@torch.inference_mode()
def answer(precision: str, folder: str, text: list[int], prompts: list[Any]) -> dict[str, Any]:
    """The worker: load the folder in `precision`, answer the prompts, read the text."""
    quantised = precision in ("int8", "int4")
    how = {"quantization": precision} if quantised else {"dtype": getattr(torch, precision)}
    load, answers, grown = unisono.load_assistant, [], 0  # looked up now: this imports it all
    before = resident_bytes()
    engine = load(folder, device="cpu", context_length=len(text), **how).reader.engine
    engine.stop_ids = frozenset()
    settings = unisono.GenerationSettings(max_new_tokens=ANSWER_TOKENS)
    for ids in prompts:
        answers.append(list(engine.generate(engine.embed(ids), engine.new_cache(), settings)))
        grown = grown or (resident_bytes() or 0) - (before or 0)
    cache, loss = engine.new_cache(), 0.0
    for token, following in pairwise(text):
        loss -= float(engine.step(token, cache).float().log_softmax(-1)[following])
    perplexity = math.exp(loss / (len(text) - 1))
    measured = {"answers": answers, "perplexity": perplexity, "memory_mb": grown / 1e6}
    return {"precision": precision, "engine": engine.name, **measured}


def _compared(rows: list[dict[str, Any]], stop_id: int) -> list[dict[str, Any]]:
    """Rows of the result: answers and perplexity to float32, the first; sizes to bfloat16."""
    exact, half = rows[:2]
    return [
        {
            "precision": row["precision"],
            "engine": row["engine"],
            "perplexity": round(row["perplexity"], 3),
            "perplexity_change": round(row["perplexity"] / exact["perplexity"] - 1, 4),
            **agreement(row["answers"], exact["answers"], stop_id),
            "file_mb": round(row["file_mb"], 1),
            "file_to_bfloat16": round(row["file_mb"] / half["file_mb"], 3),
            "memory_mb": round(row["memory_mb"]) or None,
            "memory_to_bfloat16": round(row["memory_mb"] / (half["memory_mb"] or math.inf), 3),
        }
        for row in rows
    ]


if __name__ == "__main__":
    sys.exit(main())
