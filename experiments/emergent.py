"""Do sounds find pictures when words alone have led both into one space?

Stage 2 pairs sounds with words, as in the paper. It is compared with as many steps on pairs of a
sound and a picture of what it names, and with the model before stage 2.
"""

from pathlib import Path

from runner import Experiment, Variant, main

from unisono.manifests import PairRow, open_manifest, write_manifest
from unisono.picturebook import bars_onepeace
from unisono.picturebook.bars_report import Finding
from unisono.picturebook.step import draws
from unisono.runtime import load_embedder

PAIRS = "spoken_pictures.jsonl"


def spoken_names(model: Path, data: Path) -> list[Finding]:
    embedder = load_embedder(model)
    return [*bars_onepeace.spoken_names(data, embedder), *bars_onepeace.sounds(data, embedder)]


def pair(made: Path, data: Path) -> None:
    """Every spoken name with a picture that trained, of its concept."""
    seen: dict[str, list[PairRow]] = {}
    for row in open_manifest(data / "pictures" / "train_plain.jsonl"):
        if isinstance(row, PairRow):
            seen.setdefault(str(row.fields["concept"]), []).append(row)
    rows = []
    for row in open_manifest(data / "spoken_names" / "train.jsonl"):
        pictures = seen.get(str(row.fields["english"]))
        if isinstance(row, PairRow) and pictures:
            image = draws("emergent", row.name).choice(pictures).image
            rows.append(PairRow(row.name, image=image, audio=row.audio))
    write_manifest(rows, made / PAIRS)


EXPERIMENT = Experiment(
    "emergent",
    "Does a spoken name find a picture that no training ever paired it with?",
    recipe="onepeace-nano/pretrain",
    stages=("1.1", "2"),
    changes=("stages.1_1.length.steps=600", "stages.2.length.steps=400"),
    variants=(
        Variant("words between (the paper)"),
        Variant(
            "sounds paired with pictures",
            (
                "stages.2.objective={kind: onepeace, stage: audio_vision}",
                f"sources.sounds={{path: '{{made}}/{PAIRS}'}}",
            ),
        ),
        Variant("stage 2 of one step", ("stages.2.length.steps=1",)),
    ),
    measure=spoken_names,
    prepare=pair,
    shown=("spoken name", "sound → name"),
)

if __name__ == "__main__":
    main(EXPERIMENT)
