"""Each filter of `unisono curate` against the known truth of 300 files, in one run:

    python benchmarks/curation.py [--json-out docs/results/curation.json] [--work DIR]

The files are made first (curation_clips.py). The run is killed with SIGKILL at random moments and
resumed; then the same is done by the Ray engine in a fresh folder, and every byte compared. The
exit status is 1 if a file is unaccounted for, or the bytes differ.

A filter's precision is over the clips it left out, its recall over the clips with its fault, those
included that another filter had taken before.
"""

import argparse
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import unisono

unisono.calm_openmp()

from curation_clips import COUNTS, FAULTS, KEPT, Made, make_clips  # noqa: E402
from report import hardware, publish  # noqa: E402

from unisono.curation.engines import Engine, InProcess, Processes  # noqa: E402
from unisono.curation.options import Options, plan_of  # noqa: E402
from unisono.curation.ray_engine import OnRay  # noqa: E402
from unisono.curation.runner import Curated, curate  # noqa: E402
from unisono.evaluation.bootstrap import interval  # noqa: E402
from unisono.evaluation.score import Score  # noqa: E402

OPTIONS = Options(languages=("en",), check=False)
"""Questions are counted, but no model is asked: the filters are what is measured."""

_STEP_TIMEOUT_S = 3600


def measured(made: Sequence[Made], curated: Curated) -> dict[str, Any]:
    """Precision and recall of each kind of fault, and of what was kept."""
    fates = _fates(made, curated)
    rows: dict[str, Any] = {}
    for truth, reasons in FAULTS.items():
        taken = [one for one in made if fates[one.name] in reasons]
        faulty = [one for one in made if one.truth == truth]
        rows[truth] = {
            "precision": _share([_is_right(one, truth, made, fates) for one in taken]),
            "recall": _share([_is_found(one, reasons, made, fates) for one in faulty]),
        }
    kept = [one for one in made if fates[one.name] == "kept"]
    good = [one for one in made if one.truth in KEPT]
    # Of a film and its near-duplicate, either may stay.
    spared = [one.truth in (*KEPT, "near-duplicate", "copy") for one in kept]
    rows["kept"] = {
        "precision": _share(spared),
        "recall": _share([_is_kept(one, made, fates) for one in good]),
    }
    rows["fates"] = {
        truth: dict(Counter(fates[one.name] for one in made if one.truth == truth))
        for truth in COUNTS
    }
    return rows


def _fates(made: Sequence[Made], curated: Curated) -> dict[str, str]:
    """File -> "kept", or why it was left out; these files have one clip each.

    Raises:
        RuntimeError: a file is unaccounted for.
    """
    fates = {
        Path(one.path).name: one.reason for one in curated.rejections if one.kind != "question"
    }
    fates |= {Path(case.path).name: "kept" for case in curated.cases}
    if missing := {one.name for one in made} - fates.keys():
        raise RuntimeError(f"unaccounted for: {sorted(missing)}")
    return fates


def _same_film(one: Made, made: Sequence[Made]) -> list[str]:
    """The others that show and say the same."""
    first = one.of or one.name
    return [m.name for m in made if first in (m.of, m.name) and m.name != one.name]


def _is_right(one: Made, truth: str, made: Sequence[Made], fates: Mapping[str, str]) -> bool:
    if truth in ("copy", "near-duplicate"):
        return bool(_same_film(one, made))
    return one.truth == truth


def _is_found(
    one: Made, reasons: Sequence[str], made: Sequence[Made], fates: Mapping[str, str]
) -> bool:
    if one.truth not in ("copy", "near-duplicate"):
        return fates[one.name] in reasons
    # One of the two was left out for the other's sake.
    return any(fates[name] in reasons for name in (one.name, one.of))


def _is_kept(one: Made, made: Sequence[Made], fates: Mapping[str, str]) -> bool:
    return "kept" in (fates[name] for name in (one.name, *_same_film(one, made)))


def _share(right: Sequence[bool]) -> dict[str, Any] | None:
    if not right:
        return None
    score = Score.of([float(one) for one in right])
    found = interval(score)
    between = None if found is None else [round(found.low, 3), round(found.high, 3)]
    return {"value": round(score.value, 3), "of": len(right), "interval": between}


def killed_run(videos: Path, out: Path, kills: int, seed: int = 2) -> int:
    """Begin the run in another process and kill it, several times; how often it was killed."""
    lots, count = random.Random(seed), 0
    command = [sys.executable, __file__, "--run-only", str(videos), str(out)]
    for _ in range(kills):
        before = len(list(_outcomes(out)))
        wanted = before + lots.randrange(20, 200)
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + _STEP_TIMEOUT_S
        while process.poll() is None and time.monotonic() < deadline:
            if len(list(_outcomes(out))) >= wanted:
                process.send_signal(signal.SIGKILL)
                break
            time.sleep(0.2)
        count += process.wait() == -signal.SIGKILL
    return count


def _outcomes(out: Path) -> Iterator[Path]:
    return (out / "work").rglob("*.json") if (out / "work").is_dir() else iter(())


def same_bytes(first: Path, second: Path) -> bool:
    """Whether two runs made the same: work, packs, data set and report."""
    trees = [
        {path.relative_to(one): path.read_bytes() for path in one.rglob("*") if path.is_file()}
        for one in (first, second)
    ]
    return trees[0] == trees[1]


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json-out", type=Path)
    parser.add_argument("--work", type=Path, help="kept afterwards; else a temporary folder")
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--share", type=float, default=1.0, help="of the 300 files, for a trial")
    parser.add_argument("--no-ray", action="store_true")
    parser.add_argument("--run-only", nargs=2, type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.run_only:
        curate([given.run_only[0]], given.run_only[1], plan_of(OPTIONS))
        return 0
    work = given.work or Path(tempfile.mkdtemp())
    work.mkdir(parents=True, exist_ok=True)
    try:
        counts = {truth: max(2, round(given.share * n)) for truth, n in COUNTS.items()}
        made = make_clips(work / "videos", counts)
        kills = killed_run(work / "videos", work / "out", given.kills)
        engine: Engine = InProcess() if given.workers == 1 else Processes(given.workers)
        began = time.perf_counter()
        curated = curate([work / "videos"], work / "out", plan_of(OPTIONS), engine=engine)
        result: dict[str, Any] = {
            "files": len(made),
            "killed": kills,
            "computed_after_kills": curated.computed,
            "seconds_after_kills": round(time.perf_counter() - began, 1),
            **measured(made, curated),
            "clips": len(curated.cases),
            "hardware": hardware(),
        }
        if not given.no_ray:
            on_ray = curate(
                [work / "videos"], work / "ray", plan_of(OPTIONS), engine=OnRay(workers=2)
            )
            result["computed_by_ray"] = on_ray.computed
            result["same_bytes"] = same_bytes(work / "out", work / "ray")
        publish(result, given.json_out)
    finally:
        if given.work is None:
            shutil.rmtree(work, ignore_errors=True)
    return 0 if result.get("same_bytes", True) else 1


if __name__ == "__main__":
    sys.exit(main())
