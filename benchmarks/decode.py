"""How fast does the default language model write on this CPU, in our runtime and in others?

    python benchmarks/decode.py [--json-out docs/results/decode.json]

The opponents are optional, and a missing one is named in the table:

    pip install -e '.[bench]'                    # llama-cpp-python (compiles for ~10 minutes)
    python -m venv .venv-openvino                # its transformers is older than ours
    .venv-openvino/bin/pip install -r benchmarks/requirements-openvino.txt
    python benchmarks/decode.py --openvino-python .venv-openvino/bin/python

Every engine has the same GGUF file (for OpenVINO dequantised by transformers and compressed
again by optimum-intel; or read as it is), the same tokens as prompt, decodes greedily, and
lives in a process of its own that sleeps while the others are measured. They take turns, round
by round, so that noise of the machine is shared: compare ratios, not runs. Equal weights and
precision must give equal tokens, else the exit status is 1; across precisions the agreement
with transformers in float32 is reported. Prints a table to stderr and one JSON line to stdout.
"""

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from decode_contest import (
    PROMPTS,
    REFERENCE,
    Contestant,
    Measured,
    Worker,
    agreement_prompts,
    busy,
    contestants,
    take_turns,
)
from decode_report import draw, equalities, print_table, summary
from report import hardware, publish


def main() -> int:
    arguments = _arguments()
    from unisono.engines.gguf_file import load_tokenizer, prepare
    from unisono.hub import default_cache_folder, fetch_part, load_catalog

    catalog = load_catalog()
    part = catalog.part(catalog.model("ola-nano").parts["language_model"])
    gguf = fetch_part(part.name) / part.files[0].name
    cache = default_cache_folder()
    derived = cache / "derived" / part.files[0].sha256[:16]
    prepare(gguf, derived)
    tokenizer = load_tokenizer(derived)
    prompts = [
        tokenizer.apply_chat_template(
            [{"role": "user", "content": text}], add_generation_prompt=True, return_dict=False
        )
        for text in PROMPTS
    ]
    field = contestants(
        gguf,
        cache / "benchmarks" / part.files[0].sha256[:16],
        arguments.threads,
        (arguments.llama_python, arguments.openvino_python),
    )
    if arguments.only:
        field = [one for one in field if any(word in one.name for word in arguments.only)]
    measured = _measure(field, prompts, arguments)
    result = _result(measured, tokenizer, part.name, arguments)
    print_table(result)
    publish(result, arguments.json_out, lambda axes: draw(axes, result))
    return 0 if result["as_expected"] else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--tokens", type=int, default=128, help="written in each round")
    parser.add_argument(
        "--agreement-tokens", type=int, default=64, help="compared for each of the 20 prompts"
    )
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument(
        "--busy-cores", type=int, default=0, help="other programs that compute meanwhile"
    )
    parser.add_argument("--llama-python", default=sys.executable, metavar="PATH")
    parser.add_argument("--openvino-python", default=sys.executable, metavar="PATH")
    parser.add_argument("--only", nargs="+", help="engines whose name has one of these words")
    parser.add_argument("--json-out", type=Path)
    return parser.parse_args()


def _measure(
    field: list[Contestant], prompts: list[list[int]], arguments: argparse.Namespace
) -> list[Measured]:
    measured = []
    try:
        for contestant in field:
            print(f"loading {contestant.name}, {contestant.weights}", file=sys.stderr)
            measured.append(Measured(contestant, Worker(contestant)))
        present = [one for one in measured if one.worker.present]
        agreement_prompts(present, prompts, arguments.agreement_tokens)
        with busy(arguments.busy_cores):
            take_turns(present, prompts[0], arguments.tokens, arguments.rounds)
    finally:
        for one in measured:
            one.worker.close()
    return measured


def _result(
    measured: list[Measured], tokenizer: Any, part: str, arguments: argparse.Namespace
) -> dict[str, Any]:
    stop_id = tokenizer.eos_token_id
    present = [one for one in measured if one.runs]
    rows = summary(present, stop_id, lambda ids: str(tokenizer.decode(ids)))
    equal = equalities(present, stop_id)
    default = next((row for row in rows if row["default"]), None)
    return {
        "benchmark": "decode",
        "model": part,
        "hardware": hardware(),
        "settings": {
            "rounds": arguments.rounds,
            "tokens": arguments.tokens,
            "threads": arguments.threads,
            "busy_cores": arguments.busy_cores,
            "prompts_compared": len(PROMPTS),
            "reference": REFERENCE,
            **{name: os.environ[name] for name in ("GOMP_SPINCOUNT",) if name in os.environ},
        },
        "engines": rows,
        "absent": [
            {"name": one.contestant.name, "weights": one.contestant.weights, "why": one.worker.why}
            for one in measured
            if not one.worker.present
        ],
        "equal": equal,
        "default_to_best": default and default["to_best"],
        "as_expected": all(check["equal"] for check in equal if check["must"]),
    }


if __name__ == "__main__":
    sys.exit(main())
