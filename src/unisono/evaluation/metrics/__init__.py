"""Metrics: each returns a `Score`, which knows what every sample added to it."""

from unisono.evaluation.metrics.boxes import box_iou, grounding_accuracy
from unisono.evaluation.metrics.detection import DetectionScores, Thing, detection_scores
from unisono.evaluation.metrics.labels import answer_share, mean_average_precision, vqa_accuracy
from unisono.evaluation.metrics.likelihood import label_nll, perplexity
from unisono.evaluation.metrics.matching import accuracy, contains, exact_match, normalise_answer
from unisono.evaluation.metrics.ranking import (
    Ranking,
    mean_rank,
    median_rank,
    rank,
    rank_vectors,
    recall_at,
)
from unisono.evaluation.metrics.segments import class_iou, confusion, mean_iou
from unisono.evaluation.metrics.words import character_error_rate, word_error_rate

__all__ = [
    "DetectionScores",
    "Ranking",
    "Thing",
    "accuracy",
    "answer_share",
    "box_iou",
    "character_error_rate",
    "class_iou",
    "confusion",
    "contains",
    "detection_scores",
    "exact_match",
    "grounding_accuracy",
    "label_nll",
    "mean_average_precision",
    "mean_iou",
    "mean_rank",
    "median_rank",
    "normalise_answer",
    "perplexity",
    "rank",
    "rank_vectors",
    "recall_at",
    "vqa_accuracy",
    "word_error_rate",
]
