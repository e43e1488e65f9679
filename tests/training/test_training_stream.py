"""From rows to batches: nothing lost, bad rows named, resumed at any batch, no thread left."""

import json
import threading
import time
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from streams import Listed, Streamed, Texts

from unisono.errors import CheckpointError, RecipeError, TooManyBadRowsError
from unisono.training.batch import Batch
from unisono.training.batching import Size, fitting, make_batches
from unisono.training.ledger import Ledger
from unisono.training.mixture import Mixture
from unisono.training.recipe import BatchSettings
from unisono.training.stream import Batches

SOURCES = {"a": Listed("a", 40, broken=[3, 17]), "b": Streamed("b", 300, broken=[5])}


def batches(
    folder: Path, objective: Any = None, sources: Any = None, share: float = 0.2, **changes: Any
) -> Batches:
    sources = sources or SOURCES
    mixed = Mixture(sources, dict.fromkeys(sources, 1.0), seed=0)
    settings = BatchSettings(**{"tokens": 60, "pool": 3, **changes})
    ledger = Ledger(folder / "bad_rows.jsonl", share, mixed.rows)
    return Batches(mixed, objective or Texts(), settings, ledger)


def found(source: Batches, count: int) -> list[Batch]:
    made = list(islice(source, count))
    source.close()
    return made


def names(source: Batches, count: int) -> list[tuple[str, ...]]:
    return [batch.names for batch in found(source, count)]


# --- which go together ------------------------------------------------------------------------

examples = st.lists(
    st.tuples(st.sampled_from(["text", "image"]), st.integers(1, 70)), min_size=1, max_size=60
)


@settings(max_examples=80, deadline=None)
@given(
    examples=examples,
    tokens=st.one_of(st.none(), st.integers(20, 200)),
    samples=st.integers(1, 9),
    packed=st.booleans(),
    group=st.booleans(),
)
def test_every_example_once_within_the_budget(
    examples: list[tuple[str, int]], tokens: int | None, samples: int, packed: bool, group: bool
) -> None:
    size = Size(tokens, samples, packed=packed, group=group)
    made = make_batches(examples, size, seed=1)
    assert sorted(p for batch in made for p in batch) == list(range(len(examples)))
    for batch in made:
        lengths = [examples[place][1] for place in batch]
        cost = sum(lengths) if packed else max(lengths) * len(lengths)
        assert len(batch) <= samples
        assert tokens is None or cost <= tokens or len(batch) == 1
        if group and not packed:
            assert len({examples[place][0] for place in batch}) == 1


def test_packed_rows_are_full() -> None:
    lengths = [("text", 20 + (37 * i) % 480) for i in range(400)]
    made = make_batches(lengths, Size(2048, None, packed=True), seed=0)
    assert sum(length for _, length in lengths) / (2048 * len(made)) > 0.95


@settings(max_examples=40, deadline=None)
@given(examples=examples, tokens=st.integers(20, 200), batches=st.integers(1, 9))
def test_what_fits_does_fit(examples: list[tuple[str, int]], tokens: int, batches: int) -> None:
    size = Size(tokens, None, packed=True)
    count = fitting(examples, size, batches)
    assert 1 <= count <= len(examples)
    assert len(make_batches(examples[:count], size, 0)) <= batches
    if count < len(examples):
        assert len(make_batches(examples[: count + 1], size, 0)) > batches


def test_batches_of_an_exact_number() -> None:
    made = make_batches([("pair", 3 + i % 7) for i in range(30)], Size(None, 8, exact=True), seed=0)
    assert [len(batch) for batch in made] == [8, 8, 8]


def test_batches_do_not_come_sorted() -> None:
    made = make_batches([("text", 1 + i) for i in range(200)], Size(400, None), seed=0)
    longest = [max(batch) for batch in made]
    assert longest != sorted(longest)
    assert longest != sorted(longest, reverse=True)


# --- the stream -------------------------------------------------------------------------------


@settings(max_examples=12, deadline=None)
@given(stop=st.integers(1, 25), group=st.booleans(), packs=st.booleans())
def test_it_goes_on_behind_any_batch(
    stop: int, group: bool, packs: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("stream")

    def new() -> Batches:
        return batches(folder, Texts(packs=packs), group=group)

    expected = found(new(), 40)
    *_, last = found(new(), stop)
    again = new()
    again.restore(json.loads(json.dumps(last.state)))
    # The states too: what was bad is counted as if nothing had happened.
    assert [(one.names, one.state) for one in found(again, 40 - stop)] == [
        (one.names, one.state) for one in expected[stop:]
    ]


def test_packed_batches_are_full_from_pool_to_pool(tmp_path: Path) -> None:
    class Long(Texts):
        def length(self, example: str) -> int:
            # Spread like captions and dialogues: a few are many times as long as most.
            share = int(example.partition(" ")[0].partition(":")[2]) * 0.618 % 1
            return int(40 + 1200 * share**6 + 200 * share)

    sources = {"a": Listed("a", 3000)}
    for pool in (4, 16):
        source = batches(tmp_path, Long(packs=True), sources, tokens=2048, pool=pool)
        filled = [batch.tokens / 2048 for batch in found(source, 80)]
        assert sum(filled) / len(filled) > 0.95
        assert max(filled) <= 1.0


def test_leftovers_are_used_too(tmp_path: Path) -> None:
    sources = {"a": Listed("a", 50)}
    source = batches(tmp_path, Texts(packs=True), sources, pool=2)
    used = [name for one in names(source, 60) for name in one]
    counts = Counter(used)
    assert len(counts) == 50
    # Each row once an epoch: only the pool that is being used may go before the others.
    assert max(counts.values()) - min(counts.values()) <= 1


def test_slow_rows_do_not_change_the_order(tmp_path: Path) -> None:
    objective = Texts(slow_s=0.001)
    assert names(batches(tmp_path, objective, workers=4), 20) == names(batches(tmp_path), 20)
    assert len(objective.threads) == 4


def test_a_contrast_has_equal_batches(tmp_path: Path) -> None:
    objective = Texts()
    objective.exact = True  # type: ignore[attr-defined]
    made = names(batches(tmp_path, objective, tokens=None, samples=7), 20)
    assert {len(one) for one in made} == {7}


def test_a_contrast_must_know_its_number(tmp_path: Path) -> None:
    objective = Texts()
    objective.exact = True  # type: ignore[attr-defined]
    with pytest.raises(RecipeError, match="samples must be given"):
        batches(tmp_path, objective, tokens=60)


def test_the_loop_is_told_how_long_it_waited(tmp_path: Path) -> None:
    source = batches(tmp_path)
    waited = []
    for batch in islice(source, 12):
        waited.append(batch.waited_s)
        time.sleep(0.02)
    source.close()
    assert min(waited) < 0.01
    assert batch.tokens <= 60
    assert batch.weight == len(batch.names)


def test_bad_rows_are_named_once(tmp_path: Path) -> None:
    used = Counter(name for one in names(batches(tmp_path), 200) for name in one)
    names(batches(tmp_path), 200)
    written = [json.loads(x) for x in (tmp_path / "bad_rows.jsonl").read_text().splitlines()]
    assert sorted(row["name"] for row in written) == ["a:17", "a:3", "b:5"]
    assert {row["source"] for row in written} == {"a", "b"}
    assert {row["reason"] for row in written} == {"torn"}
    assert used["a:4"] > 1
    assert not {"a:17", "a:3", "b:5"} & used.keys()


def test_too_many_bad_rows_end_it(tmp_path: Path) -> None:
    many = {"a": Listed("a", 400, broken=range(0, 400, 4))}
    with pytest.raises(TooManyBadRowsError, match=r"guards.bad_rows allows 20.0%.*BadRowError"):
        names(batches(tmp_path, sources=many), 200)


def test_a_few_rows_that_are_all_bad_end_it_too(tmp_path: Path) -> None:
    source = batches(tmp_path, Texts(refused="a:"), {"a": Listed("a", 5)})
    with pytest.raises(TooManyBadRowsError, match="5 of 5 rows"):
        names(source, 1)


def test_a_fault_of_the_code_is_not_taken_for_a_bad_row(tmp_path: Path) -> None:
    class Wrong(Texts):
        def prepare(self, row: Any) -> str:
            raise KeyError("oops")

    with pytest.raises(KeyError) as fault:
        names(batches(tmp_path, Wrong()), 1)
    assert "while opening row" in fault.value.__notes__[0]


def test_no_thread_is_left(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    source = batches(tmp_path, Texts(slow_s=0.002))
    for _ in islice(source, 3):
        pass
    source.close()
    left = set(threading.enumerate()) - before
    assert not [thread.name for thread in left if thread.is_alive()]


def test_it_stops_at_once_in_the_middle_of_a_pool(tmp_path: Path) -> None:
    source = batches(tmp_path, Texts(pause_s=0.02), tokens=5000, workers=1)
    taken: list[Batch] = []
    loop = threading.Thread(target=lambda: taken.extend(source))
    loop.start()
    time.sleep(0.2)
    started = time.perf_counter()
    source.close()
    loop.join(timeout=10)
    # The pool would have taken 20 s.
    assert time.perf_counter() - started < 5
    assert not loop.is_alive()
    assert taken == []


def test_one_thread_asks_the_objective_for_lengths(tmp_path: Path) -> None:
    asked = set()

    class Asked(Texts):
        def length(self, example: str) -> int:
            asked.add(threading.current_thread().name)
            return super().length(example)

    found(batches(tmp_path, Asked(), workers=3), 20)
    assert asked == {"batches"}


def test_a_state_of_something_else(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no place in the data"):
        batches(tmp_path).restore({})
