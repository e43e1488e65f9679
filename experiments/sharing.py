"""What modalities share in ONE-PEACE's layers, and what the denoising contrast adds."""

from pathlib import Path

from runner import Experiment, Variant, main

from unisono.picturebook import bars_onepeace
from unisono.picturebook.bars_report import Finding
from unisono.runtime import load_embedder


def pictures(model: Path, data: Path) -> list[Finding]:
    return bars_onepeace.pictures(data, load_embedder(model))


def ablated(*terms: str) -> tuple[str, ...]:
    return (f"stages.1_3.objective.without=[{', '.join(terms)}]",)


EXPERIMENT = Experiment(
    "sharing",
    "Which sharing between modalities, and which denoising, finds pictures best by their captions?",
    recipe="onepeace-nano/pretrain",
    stages=("1.1", "1.3"),
    changes=("stages.1_1.length.steps=400", "stages.1_3.length.steps=200"),
    variants=(
        Variant("attention shared (the paper)"),
        Variant("all shared", ("model.config.shared=all",)),
        Variant("FFNs shared", ("model.config.shared=ffn",)),
        Variant("nothing shared", ("model.config.shared=nothing",)),
        Variant("smooth L1", ("model.config.denoising=smooth_l1",)),
        Variant("L2", ("model.config.denoising=l2",)),
        Variant("cosine", ("model.config.denoising=cosine",)),
        Variant("contrast alone", ablated("alone", "joint")),
        Variant("no joint denoising", ablated("joint")),
        Variant("no denoising alone", ablated("alone")),
    ),
    measure=pictures,
    shown=("picture ← caption",),
)

if __name__ == "__main__":
    main(EXPERIMENT)
