"""Bars, verdicts, intervals, and the table of them."""

import math

import numpy as np
import pytest

from unisono.evaluation import Score, interval
from unisono.picturebook.bars_report import (
    Bar,
    Finding,
    as_json,
    as_markdown,
    clustered,
    moved,
)


def finding(score: Score | None, bar: Bar | None, **more: object) -> Finding:
    return Finding("picture", "a picture", "a.jsonl", score, bar, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("value", "bar", "verdict", "missed"),
    [
        (0.7, Bar(0.7), "passed", 0.0),
        (0.69, Bar(0.7), "missed", 0.01),
        (0.4, Bar(0.4, at_least=False), "passed", 0.0),
        (0.45, Bar(0.4, at_least=False), "missed", 0.05),
    ],
)
def test_a_score_is_held_against_its_bar(
    value: float, bar: Bar, verdict: str, missed: float
) -> None:
    one = finding(Score.of([value]), bar)
    assert one.verdict == verdict
    assert one.missed_by == pytest.approx(missed)


def test_what_was_not_measured_passes_nothing() -> None:
    nothing = finding(None, Bar(0.0))
    empty = finding(Score.of([]), Bar(0.0))
    free = finding(Score.of([0.1]), None)
    assert (nothing.verdict, empty.verdict, free.verdict) == ("not measured", "not measured", "")
    assert nothing.missed_by is None
    assert empty.missed_by is None
    assert nothing.interval is None


@pytest.mark.parametrize(
    ("p_value", "verdict"), [(0.0001, "passed"), (0.01, "missed"), (None, "missed")]
)
def test_a_score_that_may_be_chance_is_missed(p_value: float | None, verdict: str) -> None:
    one = finding(Score.of([0.5]), Bar(0.1, p_below=0.001), p_value=p_value)
    assert one.verdict == verdict
    assert ("missed: may be chance" in as_markdown([one])) == (verdict == "missed")


def test_clusters_keep_the_score_and_widen_its_interval() -> None:
    right = np.repeat([1.0, 0.0], 50)
    alone = Score.of(right)
    together = clustered(alone, [str(place // 10) for place in range(100)])
    assert len(together) == 10
    assert together.value == alone.value == 0.5
    narrow, wide = interval(alone), interval(together)
    assert narrow is not None
    assert wide is not None
    assert wide.high - wide.low > 2 * (narrow.high - narrow.low)
    with pytest.raises(ValueError, match="a key for each"):
        clustered(alone, ["a"])


def test_the_table_says_what_where_and_by_how_much() -> None:
    findings = [
        finding(Score.of([1, 1, 1, 0]), Bar(0.8), note="A note.", seconds=3.4),
        finding(
            Score.of([0.1, 0.3], higher_is_better=False, percent=False), Bar(0.15, at_least=False)
        ),
        finding(Score.of([1, 0]), Bar(0.5)),
        finding(None, Bar(0.5), note="No data."),
    ]
    lines = as_markdown(findings).splitlines()
    ends = findings[0].interval
    assert ends is not None
    assert lines[2] == (
        f"| a picture (1) | a.jsonl | ≥ 80.0% | 75.0% [{100 * ends.low:.1f} to "
        f"{100 * ends.high:.1f}%] | 4 | 3 | missed by 5.0 points |"
    )
    assert "| ≤ 15.0% |" not in lines[3]
    assert "| ≤ 0.15 | 0.2 [" in lines[3]
    assert lines[3].endswith("missed by 0.05 |")
    assert lines[4].endswith("| 2 | 0 | passed |")
    assert lines[5].endswith("| – | 0 | 0 | not measured |")
    assert "Passed 1 of 4 bars." in lines
    assert "(1) A note." in lines
    assert "(2) No data." in lines


def test_json_has_the_same_and_no_nan() -> None:
    found = as_json([finding(Score.of([1, 0]), Bar(0.4)), finding(Score.of([]), Bar(0.4))])
    assert (found["bars"], found["passed"]) == (2, 1)
    first, second = found["findings"]
    assert first["value"] == 0.5
    assert (first["low"], first["high"]) == (0.0, 1.0)
    assert first["bar"] == {"limit": 0.4, "at_least": True}
    assert second["value"] is None
    assert second["verdict"] == "not measured"
    assert not any(isinstance(one, float) and math.isnan(one) for one in second.values())


def test_a_number_that_leaves_its_interval_is_named() -> None:
    sure, wide = Score.of([1.0] * 40), Score.of([1.0, 0.0] * 20)
    then = as_json([Finding("a", "sure", "s", sure), Finding("a", "wide", "s", wide)])
    assert moved([Finding("a", "wide", "s", Score.of([1.0] * 21 + [0.0] * 19))], then) == []
    assert moved([Finding("b", "new", "s", sure)], then) == []
    (line,) = moved([Finding("a", "wide", "s", Score.of([1.0] * 36 + [0.0] * 4))], then)
    assert line.startswith("wide (s): was 0.5 [0.3")
    assert line.endswith("is 0.9")
    (line,) = moved([Finding("a", "sure", "s", Score.of([1.0] * 39 + [0.0]))], then)
    assert "is 0.975" in line
    assert moved([Finding("a", "sure", "s", None)], then) == ["sure (s): was 1.0, is None"]
