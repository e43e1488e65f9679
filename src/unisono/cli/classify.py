"""`unisono classify`: which of some labels fit files best, without any training."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from unisono.cli.embed import find_entries
from unisono.cli.options import DeviceOption, DtypeOption, ModelOption, torch_dtype
from unisono.errors import ConversationError

_FAILED = 2


def classify(
    files: Annotated[list[Path], typer.Argument(help="Pictures, sounds, videos, .txt, folders.")],
    labels: Annotated[str, typer.Option(help="To choose from, with commas between: cat,dog.")],
    template: Annotated[
        list[str] | None, typer.Option(help="Sentence with {} for the label, instead of ours.")
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="Labels shown per file.")] = 3,
    model: ModelOption = "onepeace-nano",
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Items a batch.")] = 16,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON object a file.")] = False,
) -> None:
    """Choose among labels for files: each label becomes sentences, the nearest one wins."""
    from unisono.retrieval.classify import Classifier
    from unisono.runtime import load_embedder
    from unisono.runtime.embedder import KINDS

    entries = list(find_entries(files, ()))
    if not entries:
        raise ConversationError("there is nothing to classify in what was named")
    own = {kind: tuple(template) for kind in KINDS} if template else None
    embedder = load_embedder(model, device=device, dtype=torch_dtype(dtype))
    classifier = Classifier(embedder, labels.split(","), templates=own)
    failed = 0
    items = (entry.item() for entry in entries)
    for one in classifier.each(items, batch_size=batch_size):
        name = entries[one.index].name
        if one.probabilities is None:
            failed += 1
            print(f"unisono: {one.error}", file=sys.stderr)
            continue
        pairs = zip(classifier.labels, one.probabilities.tolist(), strict=True)
        best = sorted(pairs, key=lambda pair: -pair[1])[:top]
        if as_json:
            print(json.dumps({"path": name, "labels": {k: round(v, 6) for k, v in best}}))
        else:
            print(f"{name}: " + ", ".join(f"{label} {share:.0%}" for label, share in best))
    if failed:
        raise typer.Exit(_FAILED)
