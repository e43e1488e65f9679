"""Published benchmarks in their published layouts, one file each; see docs/evaluation.md."""

from unisono.evaluation.benchmarks.ai2d import AI2D
from unisono.evaluation.benchmarks.airbench import AirBench
from unisono.evaluation.benchmarks.benchmark import Benchmark
from unisono.evaluation.benchmarks.hallusionbench import HallusionBench
from unisono.evaluation.benchmarks.librispeech import LibriSpeech
from unisono.evaluation.benchmarks.longvideobench import LongVideoBench
from unisono.evaluation.benchmarks.mathvista import MathVista
from unisono.evaluation.benchmarks.mmbench import MMBench
from unisono.evaluation.benchmarks.mmmu import MMMU
from unisono.evaluation.benchmarks.mmstar import MMStar
from unisono.evaluation.benchmarks.mvbench import MVBench
from unisono.evaluation.benchmarks.ocrbench import OCRBench
from unisono.evaluation.benchmarks.videomme import VideoMME

BENCHMARKS: tuple[type[Benchmark] | type[LibriSpeech], ...] = (
    MMBench,
    MMStar,
    MMMU,
    MathVista,
    HallusionBench,
    AI2D,
    OCRBench,
    VideoMME,
    LongVideoBench,
    MVBench,
    LibriSpeech,
    AirBench,
)

__all__ = ["BENCHMARKS", "Benchmark"]
