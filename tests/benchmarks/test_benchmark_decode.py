"""decode.py's arithmetic, and that no opponent is dropped in silence."""

import json
import sys
from pathlib import Path

import decode_contest
import decode_report
import decode_worker
import pytest
from decode_contest import Contestant, Measured, Worker

STOP = 2

ECHO = """
import json, sys
print(json.dumps({"ready": {"echo": "1"}}), flush=True)
for line in sys.stdin:
    print(json.dumps({"ids": json.loads(line)["ids"], "tokens_per_s": 1.0}), flush=True)
"""


def contestant(name: str = "echo", **changes: object) -> Contestant:
    given = {"weights": "fp32", "kind": "echo", "python": sys.executable, "options": {}}
    return Contestant(name, **(given | {"install": "pip install echo"} | changes))


@pytest.fixture
def worker_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def use(source: str) -> None:
        path = tmp_path / "worker.py"
        path.write_text(source)
        monkeypatch.setattr(decode_contest, "WORKER", path)

    return use


@pytest.mark.parametrize(
    ("answer", "reference", "expected"),
    [
        ([5, 6, 7], [5, 6, 7], (3, 3)),
        ([5, 9, 7], [5, 6, 7], (1, 3)),
        ([9, 6, 7], [5, 6, 7], (0, 3)),
        ([5, STOP, 9], [5, STOP, 8], (2, 2)),  # what follows the reference's end is no answer
        ([5, STOP, 8], [5, 6, 8], (1, 3)),
    ],
)
def test_leading_tokens_are_counted_up_to_the_references_end(answer, reference, expected):
    assert decode_report.leading(answer, reference, STOP) == expected


def test_agreement_weighs_prompts_by_their_length():
    found = decode_report.agreement([[5, 6, 7], [8]], [[5, 9, 7], [8]], STOP)
    assert found == {"leading_tokens": 0.5, "equal_answers": 1, "answers": 2}


def _measured(name: str, rates: list[float], **changes: object) -> Measured:
    one = Measured(contestant(name, **changes), worker=type("W", (), {"versions": {}})())
    one.answers = [[5, 6]]
    one.runs = [
        {
            "ids": [5, 6],
            "tokens_per_s": rate,
            "first_token_s": 0.1,
            "memory_bytes": 2**20,
            "load_average": 0.0,
        }
        for rate in rates
    ]
    return one


def test_summary_is_sorted_and_relative_to_the_best_median():
    field = [_measured("ours", [10, 8, 90], default=True), _measured("theirs", [20, 19, 21])]
    best, ours = decode_report.summary(field, STOP, str)
    assert (best["name"], ours["name"]) == ("theirs", "ours")
    assert ours["tokens_per_s"] == {"median": 10, "min": 8, "max": 90}
    assert (ours["to_best"], best["to_default"]) == (0.5, 2.0)


def test_summary_of_opponents_alone_has_no_ratio_to_ours():
    [row] = decode_report.summary([_measured("theirs", [20])], STOP, str)
    assert row["to_default"] is None


def test_unequal_texts_of_equal_weights_are_found():
    ours, theirs = _measured("unisono, torch", [1]), _measured("transformers generate", [1])
    assert decode_report.equalities([ours, theirs], STOP)[0]["equal"]
    theirs.answers = [[5, 7]]
    [check] = decode_report.equalities([ours, theirs], STOP)
    assert check["must"]
    assert not check["equal"]


def test_a_worker_answers(worker_script):
    worker_script(ECHO)
    worker = Worker(contestant())
    assert worker.present
    assert worker.versions == {"echo": "1"}
    assert worker.generate([1, 2], 2)["ids"] == [1, 2]
    worker.close()


def test_a_missing_opponent_says_how_to_install_it(worker_script):
    folder = Path(decode_worker.__file__).parent
    worker_script(
        f"import sys; sys.path.insert(0, {str(folder)!r})\n"
        "import decode_worker\n"
        "def make(options):\n"
        "    import echo_of_nothing\n"
        "decode_worker.ENGINES['echo'] = (make, ())\n"
        "decode_worker.main()\n"
    )
    worker = Worker(contestant())
    assert not worker.present
    assert worker.why == "not installed (echo_of_nothing): pip install echo"
    worker.close()


def test_a_worker_that_fails_to_load_says_why(worker_script):
    worker_script("raise SystemExit('the weights are upside down')")
    worker = Worker(contestant())
    assert not worker.present
    assert "the weights are upside down" in worker.why
    worker.close()


def test_a_worker_that_dies_later_is_named(worker_script):
    worker_script("print('{\"ready\": {}}', flush=True); input(); raise SystemExit('fell over')")
    worker = Worker(contestant("faller"))
    with pytest.raises(RuntimeError, match=r"faller, fp32 ended with status 1: fell over"):
        worker.generate([1], 1)
    worker.close()


def test_everybody_is_first_once():
    order: list[str] = []

    class Noting:
        def __init__(self, name: str) -> None:
            self.name = name

        def generate(self, ids: list[int], count: int) -> dict[str, object]:
            order.append(self.name)
            return {"ids": ids}

    field = [Measured(contestant(name), Noting(name)) for name in "abc"]
    decode_contest.take_turns(field, [1], 1, rounds=3)
    assert "".join(order) == "abcbcacab"
    assert [len(one.runs) for one in field] == [3, 3, 3]


def test_an_engine_that_writes_too_little_is_not_timed():
    def lazy(ids, count, tick):
        tick()
        return [1]

    with pytest.raises(RuntimeError, match="1 tokens in 1 ticks instead of 2"):
        decode_worker.timed(lazy, [1], 2)


def test_the_table_names_who_is_absent(capsys):
    result = {
        "model": "m",
        "hardware": {"cpu": "c"},
        "engines": decode_report.summary([_measured("ours", [9], default=True)], STOP, str),
        "absent": [{"name": "OpenVINO", "weights": "int8", "why": "not installed"}],
        "equal": [],
        "default_to_best": 1.0,
    }
    json.dumps(result)
    decode_report.print_table(result)
    printed = capsys.readouterr().err
    assert "OpenVINO" in printed
    assert "not installed" in printed
