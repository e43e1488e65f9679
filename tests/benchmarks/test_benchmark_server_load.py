"""benchmarks/server_load.py: what it counts; and what a minute of chaos leaves behind."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from server_load import Told, checked, percentiles, speed, summary
from server_soak import _judged

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "server_load.py"
ALONE = {"bees": "Bees make honey.", "rain": "Rain is water."}


def told(thing: str, text: str, **more: object) -> Told:
    fields = {"name": f"id {thing} {text}", "tokens": 10, "total_s": 2.0, "whole": True} | more
    return Told(thing, text=text, **fields)  # type: ignore[arg-type]


def test_answers_to_other_questions_are_noticed() -> None:
    right = checked([told(thing, text) for thing, text in ALONE.items()], ALONE)
    assert right == {"equal_to_alone": 2, "leading_part_equal": 1.0, "mixed_up": 0}
    swapped = checked([told("bees", ALONE["rain"]), told("rain", ALONE["bees"])], ALONE)
    assert swapped["mixed_up"] == 2
    late = checked([told("bees", "Bees make wax.")], ALONE)
    assert late["mixed_up"] == 0
    assert late["equal_to_alone"] == 0
    assert late["leading_part_equal"] == round(len("Bees make ") / len(ALONE["bees"]), 3)
    assert checked([told("bees", "")], ALONE)["mixed_up"] == 1


def test_lost_ones_are_counted_and_the_throughput_is_that_of_all() -> None:
    some = [told("bees", "x"), told("rain", "y", whole=False)]
    found = speed(some, 4.0)
    assert found["lost"] == 1
    assert found["tokens_per_s"] == 5.0
    assert found["tokens_per_s_of_each"] == 5.0
    assert percentiles([1.0, 2.0, 3.0, 100.0]) == {"p50": 2.5, "p95": 100.0}


def test_ratios_and_ids() -> None:
    alone = [told(thing, text) for thing, text in ALONE.items()]
    found = summary({1: alone, 4: alone}, {1: 4.0, 4: 1.0})
    assert found["times_the_throughput_of_one"] == {"1": 1.0, "4": 4.0}
    assert not found["answers_of_their_own_id"]  # the same twice
    assert found["differ_from_alone"] == []
    other = summary({1: alone, 4: [told("bees", "Wasps do.")]}, {1: 4.0, 4: 1.0})
    assert [(one["text"], one["alone"]) for one in other["differ_from_alone"]] == [
        ("Wasps do.", ALONE["bees"])
    ]
    assert summary({1: alone}, {1: 1.0})["answers_of_their_own_id"]


def test_growth_is_judged_after_the_warming() -> None:
    samples = [
        {
            "s": float(s),
            "rss_mb": 100.0 if s < 20 else 500.0 + s / 36,
            "threads": 7,
            "descriptors": 9,
        }
        for s in range(100)
    ]
    found = _judged(samples)
    assert found["rss_mb"]["growth_per_hour"] == pytest.approx(100, abs=0.2)
    assert found["threads"] == {"first": 7.0, "last": 7.0, "most": 7.0, "growth_per_hour": 0.0}


@pytest.mark.slow
def test_a_minute_of_clients_that_come_and_go_leaves_nothing() -> None:
    command = [sys.executable, str(SCRIPT), "--soak", "1", "--conversations", "4"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=1200)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["settled"]
    assert found["conversations_in_use_after"] == 0
    assert found["connections_after"] == 0
    assert found["answers_after"] == 8
    assert not [name for name in found["acts"] if "failed" in name]
    # In a minute memory is still being warmed; descriptors and threads are there or not.
    assert found["at_rest_after"]["descriptors"] <= found["descriptors"]["first"]
    assert found["at_rest_after"]["threads"] <= found["threads"]["most"]
    assert found["rss_mb"]["last"] - found["rss_mb"]["first"] < 500
