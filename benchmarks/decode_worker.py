"""One engine in a process of its own: tokens of a prompt in, tokens of the answer and times out.

    python decode_worker.py KIND '{"threads": 2, …}'

Started by decode.py, with whatever interpreter has the engine: only "unisono" imports Unisono.
Each line of standard input is `{"ids": […], "count": 128}`; each is answered by a line. The
first line written says `ready`, or `missing`: the package that this interpreter does not have.
Decoding is greedy, and goes on after a stop token, so that all engines write as many tokens.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from memory import resident_bytes

Tick = Callable[[], None]
"""To be called whenever a token is known."""

Generate = Callable[[list[int], int, Tick], list[int]]
"""(prompt, tokens to write, tick) -> the tokens written."""

Options = dict[str, Any]


def unisono_engine(options: Options) -> Generate:
    """Options: `engine`, and `dtype` for torch."""
    import unisono

    load = unisono.load  # before torch: it sets how long OpenMP's threads spin
    import torch

    torch.set_num_threads(options["threads"])
    dtype = getattr(torch, options["dtype"]) if "dtype" in options else None
    engine = load("ola-nano", engine=options["engine"], device="cpu", dtype=dtype).reader.engine
    engine.stop_ids = frozenset()

    def generate(ids: list[int], count: int, tick: Tick) -> list[int]:
        settings = unisono.GenerationSettings(max_new_tokens=count)
        written = []
        for token in engine.generate(engine.embed(ids), engine.new_cache(), settings):
            tick()
            written.append(token)
        return written

    return generate


def transformers_generate(options: Options) -> Generate:
    """Options: `gguf`, `dtype`."""
    import torch

    torch.set_num_threads(options["threads"])
    model = _read_gguf(Path(options["gguf"]), getattr(torch, options["dtype"])).eval()
    model.generation_config.eos_token_id = None
    model.generation_config.pad_token_id = 0  # else a warning: there is no stop token to pad with

    class Streamer:
        def __init__(self, tick: Tick) -> None:
            self.tick, self.prompt_seen = tick, False

        def put(self, _tokens: object) -> None:
            if self.prompt_seen:
                self.tick()
            self.prompt_seen = True

        def end(self) -> None:
            pass

    def generate(ids: list[int], count: int, tick: Tick) -> list[int]:
        prompt = torch.tensor([ids])
        written = model.generate(
            prompt,
            attention_mask=torch.ones_like(prompt),
            max_new_tokens=count,
            do_sample=False,
            streamer=Streamer(tick),
        )
        return list(written[0, len(ids) :].tolist())

    return generate


def llama_cpp_python(options: Options) -> Generate:
    """Options: `gguf`. Its low-level interface: `Llama.generate` is slower for the same tokens."""
    import llama_cpp
    import numpy as np

    threads = options["threads"]
    model = llama_cpp.Llama(
        options["gguf"],
        n_ctx=4096,
        n_threads=threads,
        n_threads_batch=threads,
        flash_attn=True,
        verbose=False,
    )
    vocabulary_size = model.n_vocab()

    def likeliest(ids: list[int]) -> int:
        tokens = (llama_cpp.llama_token * len(ids))(*ids)
        batch = llama_cpp.llama_batch_get_one(tokens, len(ids))
        if llama_cpp.llama_decode(model.ctx, batch) != 0:
            raise RuntimeError("llama_decode failed")
        logits = llama_cpp.llama_get_logits_ith(model.ctx, -1)
        return int(np.ctypeslib.as_array(logits, shape=(vocabulary_size,)).argmax())

    def generate(ids: list[int], count: int, tick: Tick) -> list[int]:
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(model.ctx), True)
        written = [likeliest(ids)]
        tick()
        while len(written) < count:
            written.append(likeliest(written[-1:]))
            tick()
        return written

    return generate


def openvino(options: Options) -> Generate:
    """Options: `model`, a folder of optimum-intel or a GGUF file; `properties` of the device."""
    import numpy as np
    import openvino as ov
    import openvino_genai as genai

    properties = {"INFERENCE_NUM_THREADS": options["threads"], "PERFORMANCE_HINT": "LATENCY"}
    pipeline = genai.LLMPipeline(
        options["model"], "CPU", **properties, **options.get("properties", {})
    )

    class Streamer(genai.StreamerBase):  # type: ignore[misc]
        def __init__(self, tick: Tick) -> None:
            super().__init__()
            self.tick = tick

        def write(self, tokens: "int | list[int]") -> Any:
            for _ in [tokens] if isinstance(tokens, int) else tokens:
                self.tick()
            return genai.StreamingStatus.RUNNING

        def end(self) -> None:
            pass

    def generate(ids: list[int], count: int, tick: Tick) -> list[int]:
        settings = genai.GenerationConfig()
        settings.max_new_tokens, settings.do_sample, settings.ignore_eos = count, False, True
        prompt = np.array([ids], np.int64)
        inputs = genai.TokenizedInputs(ov.Tensor(prompt), ov.Tensor(np.ones_like(prompt)))
        return list(pipeline.generate(inputs, settings, Streamer(tick)).tokens[0])

    return generate


def save_for_openvino(options: Options) -> None:
    """Write the weights and the tokenizer of `gguf` to `folder`, as transformers reads them."""
    import torch
    from transformers import AutoTokenizer

    path = Path(options["gguf"])
    model = _read_gguf(path, torch.float32)
    # Dequantised weights can be saved, but transformers does not know it.
    model.config.__dict__.pop("quantization_config", None)
    model.hf_quantizer = None
    model.save_pretrained(options["folder"])
    AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name).save_pretrained(
        options["folder"]
    )


def _read_gguf(path: Path, dtype: Any) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=dtype)


ENGINES: dict[str, tuple[Callable[[Options], Generate], tuple[str, ...]]] = {
    "unisono": (unisono_engine, ("torch", "xllamacpp")),
    "transformers": (transformers_generate, ("transformers", "torch")),
    "llama-cpp-python": (llama_cpp_python, ("llama_cpp_python",)),
    "openvino": (openvino, ("openvino", "openvino-genai")),
}
"""Kind -> what makes it, and the packages whose versions are reported."""


def timed(generate: Generate, ids: list[int], count: int) -> dict[str, Any]:
    """Write `count` tokens; when the first came, and the rate of the others."""
    ticks: list[float] = []
    started = time.perf_counter()
    written = generate(ids, count, lambda: ticks.append(time.perf_counter()))
    if len(written) != count or len(ticks) != count:
        raise RuntimeError(f"{len(written)} tokens in {len(ticks)} ticks instead of {count}")
    return {
        "ids": written,
        "first_token_s": ticks[0] - started,
        "tokens_per_s": (count - 1) / (ticks[-1] - ticks[0]) if count > 1 else None,
        "memory_bytes": resident_bytes(),
    }


def main() -> None:
    # Libraries print to standard output, which belongs to the protocol.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    kind, options = sys.argv[1], json.loads(sys.argv[2])
    if kind == "save_for_openvino":
        save_for_openvino(options)
        return
    make, packages = ENGINES[kind]
    try:
        generate = make(options)
    except ModuleNotFoundError as error:
        print(json.dumps({"missing": error.name}), file=answers)
        return
    print(json.dumps({"ready": {name: version(name) for name in packages}}), file=answers)
    for line in sys.stdin:
        print(json.dumps(timed(generate, **json.loads(line))), file=answers)


if __name__ == "__main__":
    main()
