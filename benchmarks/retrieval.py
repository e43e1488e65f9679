"""The library against plain numpy, faiss and a loop over files, all in one run:

    python benchmarks/retrieval.py [--json-out docs/results/retrieval.json]

Vectors: the same clustered ones for everybody. Files: pictures, sounds and texts, made of those in
examples/ so that no two are alike. The script that the library is compared with opens, embeds and
stores one file after the other, with the same model and the same decoders, and is measured before
and after the library. Then all vectors and files go into one library, whose indexing process is
killed three times on its way; the exit status is 1 if a piece is lost or doubled.
Needs the extras `retrieval` and `bench`, and faiss-cpu. Times are worthless on a machine that
others use: a `load_average` above the cores says so.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import unisono

unisono.calm_openmp()  # before torch, as the command does: it sets how long OpenMP's threads spin

import numpy as np  # noqa: E402
from PIL import Image, ImageEnhance  # noqa: E402
from report import hardware, publish  # noqa: E402

from unisono.media import SAMPLE_RATE_HZ, load_audio  # noqa: E402
from unisono.picturebook.voices import write_flac  # noqa: E402
from unisono.retrieval import Library  # noqa: E402
from unisono.retrieval.pieces import pieces  # noqa: E402
from unisono.retrieval.record import FileInfo, Record, arrow_table, schema  # noqa: E402
from unisono.retrieval.scan import content_hash  # noqa: E402
from unisono.retrieval.table import INDEX_FROM, PieceTable, connect  # noqa: E402
from unisono.runtime import load_embedder  # noqa: E402
from unisono.runtime.embedder import Embedder  # noqa: E402

WIDTH = 192
QUERIES = 200
EXAMPLES = Path(__file__).parent.parent / "examples"
KILLS = 3
SAMPLE = 300
"""Files that are embedded one at a time, half of them before the library's turn, half after."""
RECALL_GOAL, SPEED_GOAL = 0.95, 3.0
CHILD = "import sys; from unisono.cli import main; sys.argv[0] = 'unisono'; main()"


def clustered(count: int, seed: int) -> np.ndarray:
    """float32 [count, D] of length 1, in 500 clusters, as embeddings lie."""
    draw = np.random.default_rng(seed)
    centres = np.random.default_rng(0).normal(size=(500, WIDTH)).astype(np.float32)
    chosen = centres[draw.integers(0, len(centres), count)]
    vectors = chosen + 0.7 * draw.normal(size=chosen.shape).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def timed(what: Callable[[], Any]) -> float:
    started = time.perf_counter()
    what()
    return time.perf_counter() - started


def latencies(search: Callable[[np.ndarray], Any], queries: np.ndarray) -> dict[str, float]:
    """Median and 95th percentile of one query at a time, in milliseconds."""
    for query in queries[:10]:
        search(query)
    times = [timed(lambda query=query: search(query)) * 1e3 for query in queries]
    return {"p50_ms": float(np.percentile(times, 50)), "p95_ms": float(np.percentile(times, 95))}


def recall(found: list[set[int]], exact: list[set[int]]) -> float:
    shares = [len(own & best) / len(best) for own, best in zip(found, exact, strict=True)]
    return float(np.mean(shares))


def vectors_side_by_side(count: int, folder: Path) -> dict[str, dict[str, float]]:
    """Building and searching, of numpy, faiss and the library."""
    vectors, queries = clustered(count, 1), clustered(QUERIES, 2)
    exact = [set(np.argsort(-(vectors @ query))[:10].tolist()) for query in queries]
    results: dict[str, dict[str, float]] = {}

    def brute(query: np.ndarray) -> np.ndarray:
        scores = vectors @ query
        best = np.argpartition(-scores, 10)[:10]
        return best[np.argsort(-scores[best])]

    results["numpy, exact"] = {"build_s": 0.0, "recall@10": 1.0} | latencies(brute, queries)
    results["faiss HNSW"] = of_faiss(vectors, queries, exact)
    results |= of_library(vectors, queries, exact, folder)
    for side in results.values():
        if seconds := side["build_s"] + side.get("write_s", 0.0):
            side["vectors_per_s"] = count / seconds
    return results


def of_faiss(vectors: np.ndarray, queries: np.ndarray, exact: list[set[int]]) -> dict[str, float]:
    import faiss

    index = faiss.IndexHNSWFlat(WIDTH, 20, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction, index.hnsw.efSearch = 150, 64
    build_s = timed(lambda: index.add(vectors))
    found = [set(index.search(query[None], 10)[1][0].tolist()) for query in queries]
    shown = {"build_s": build_s, "recall@10": recall(found, exact)}
    return shown | latencies(lambda query: index.search(query[None], 10), queries)


def synthetic_rows(vectors: np.ndarray) -> Iterator[list[dict[str, Any]]]:
    """Rows of files that are nowhere, 5,000 at a time."""
    for start in range(0, len(vectors), 5_000):
        part = vectors[start : start + 5_000]
        files = (
            FileInfo(f"/nowhere/{start + i:07}", 1, 1, f"{start + i:x}") for i in range(len(part))
        )
        yield [Record(file, 0, "image", one).row() for file, one in zip(files, part, strict=True)]


def of_library(
    vectors: np.ndarray, queries: np.ndarray, exact: list[set[int]], folder: Path
) -> dict[str, dict[str, float]]:
    table = PieceTable(connect(str(folder)), "pieces-bench", width=WIDTH, made_by={})

    def write() -> None:
        for rows in synthetic_rows(vectors):
            table.put(rows)

    write_s = timed(write)
    build_s = timed(table.improve)
    assert table.is_indexed() == (len(vectors) >= INDEX_FROM)

    def ids(query: np.ndarray, *, by_index: bool) -> set[int]:
        hits = table.nearest(query, 10, exact=not by_index)
        return {int(Path(row["path"]).stem) for row, _ in hits}

    shown = {}
    for name, by_index in (("library, exact", False), ("library, index", True)):
        found = [ids(query, by_index=by_index) for query in queries]
        times = latencies(
            lambda query, by_index=by_index: table.nearest(query, 10, exact=not by_index), queries
        )
        built = {"write_s": write_s, "build_s": build_s if by_index else 0.0}
        shown[name] = built | {"recall@10": recall(found, exact)} | times
    return shown


def make_files(count: int, folder: Path) -> None:
    """So many different pictures, sounds and texts."""
    pictures = sorted(EXAMPLES.rglob("*.jpg")) + sorted(EXAMPLES.rglob("*.png"))
    sounds = sorted(EXAMPLES.rglob("*.flac")) + sorted(EXAMPLES.rglob("*.wav"))
    opened = [Image.open(path).convert("RGB") for path in pictures]
    heard = [load_audio(path) for path in sounds]
    draw = np.random.default_rng(0)
    for number in range(count):
        path = folder / f"{number % 20:02}" / f"{number:05}"
        path.parent.mkdir(exist_ok=True, parents=True)
        if number % 10 == 9:
            text = " ".join(map(str, draw.integers(0, 9999, 30)))
            path.with_suffix(".txt").write_text(text, encoding="utf-8")
        elif number % 10 >= 7:
            sound = heard[number % len(heard)][: 4 * SAMPLE_RATE_HZ]
            write_flac(sound * float(draw.uniform(0.3, 0.9)), path.with_suffix(".flac"))
        else:
            picture = opened[number % len(opened)].rotate(float(draw.uniform(-9, 9)))
            factor = float(draw.uniform(0.6, 1.4))
            ImageEnhance.Brightness(picture).enhance(factor).save(path.with_suffix(".png"))


def end_to_end(media: Path, folder: Path, embedder: Embedder) -> dict[str, float]:
    """Files a second: the library, and a script that embeds and stores one file at a time."""
    files = sorted(path for path in media.rglob("*") if path.is_file())
    part = files[:: max(1, len(files) // SAMPLE)]
    embedder.embed(text=["warm"])
    turns = [one_at_a_time(part[::2], folder / "first", embedder)]
    library = Library(folder / "whole", embedder)
    seconds = timed(lambda: library.index([media]))
    turns.append(one_at_a_time(part[1::2], folder / "second", embedder))
    ours, theirs = len(files) / seconds, len(part) / sum(whole for whole, _ in turns)
    without = len(part) / sum(whole - storing for whole, storing in turns)
    return {
        "library_files_per_s": ours,
        "one_at_a_time_files_per_s": theirs,
        "times_as_fast": ours / theirs,
        "times_as_fast_were_its_storing_free": ours / without,
    }


def one_at_a_time(files: Sequence[Path], uri: Path, embedder: Embedder) -> tuple[float, float]:
    """Seconds for opening, embedding and storing file after file; and for the storing alone."""
    table = connect(str(uri)).create_table("vectors", schema=schema(embedder.width, {}))
    storing: list[float] = []

    def script() -> None:
        for path in files:
            info = path.stat()
            file = FileInfo(str(path), info.st_size, info.st_mtime_ns, content_hash(str(path)))
            rows = [
                Record(
                    file,
                    number,
                    piece.modality,
                    embedder.embed([piece.item])[0],
                    text=piece.text,
                    thumbnail=piece.thumbnail,
                ).row()
                for number, piece in enumerate(pieces(str(path)))
            ]
            storing.append(timed(partial(table.add, arrow_table(rows, embedder.width))))

    return timed(script), sum(storing)


def killed_and_resumed(
    media: Path, uri: Path, vectors: np.ndarray, embedder: Embedder
) -> dict[str, Any]:
    """Index files beside many vectors, with kill -9 in between: what is there in the end."""
    library = Library(uri, embedder)
    for rows in synthetic_rows(vectors):
        library.table.put(rows)
    library.table.improve()
    held = [len(kill_while_it_writes(media, library)) - len(vectors) for _ in range(KILLS)]
    report = library.index([media])
    files = {str(path) for path in media.rglob("*") if path.is_file()}
    found = [row["path"] for batch, _ in library.table.vectors() for row in batch]
    own = [path for path in found if path in files]
    queries = clustered(QUERIES, 3)
    return {
        "files": len(files),
        "held_after_each_kill": held,
        "read_after_the_last": report.new,
        "lost": len(files - set(own)) + len(vectors) - (len(found) - len(own)),
        # Every file here is one piece.
        "doubled": len(found) - len(set(found)),
        "failed": len(report.failures),
        "recall@10": library.table.recall(queries),
        "search": latencies(library.search, queries),
    }


def kill_while_it_writes(media: Path, library: Library) -> Library:
    """Start `unisono index`, and kill it when it has written something."""
    command = [sys.executable, "-c", CHILD, "index", str(media), "--library", library.uri]
    before, process = len(library), subprocess.Popen(command, stdout=subprocess.DEVNULL)
    while len(library) <= before and process.poll() is None:
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    if process.wait() != -signal.SIGKILL:
        raise SystemExit("unisono index was over before it was killed: give it more files")
    return library


def draw(results: dict[str, Any], axes: Any) -> None:
    """Median latencies, each with its recall."""
    sides = results["vectors"]
    names = [f"{name} (recall {side['recall@10']:.2f})" for name, side in sides.items()]
    axes.barh(names[::-1], [side["p50_ms"] for side in sides.values()][::-1])
    axes.set_xscale("log")
    axes.set_xlabel("milliseconds for the 10 nearest of 100,000 vectors, median")


def measured(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    vectors = clustered(options.vectors, 1)
    sides = vectors_side_by_side(options.vectors, folder / "vectors")
    print(sides, file=sys.stderr)
    make_files(options.files, folder / "media")
    embedder = load_embedder("onepeace-nano")
    speed = end_to_end(folder / "media", folder, embedder)
    print(speed, file=sys.stderr)
    killed = killed_and_resumed(folder / "media", folder / "killed", vectors, embedder)
    return {
        "benchmark": "retrieval",
        "hardware": hardware(),
        "versions": {name: version(name) for name in ("lancedb", "faiss-cpu", "numpy")},
        "load_average": os.getloadavg()[0],
        "counts": {"vectors": options.vectors, "width": WIDTH, "queries": QUERIES},
        "vectors": sides,
        "end_to_end": speed,
        "killed": killed,
        "goals": {
            f"recall@10 >= {RECALL_GOAL}": sides["library, index"]["recall@10"] >= RECALL_GOAL,
            f"times_as_fast >= {SPEED_GOAL:g}": speed["times_as_fast"] >= SPEED_GOAL,
            "nothing lost or doubled": killed["lost"] == killed["doubled"] == 0,
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--vectors", type=int, default=100_000)
    parser.add_argument("--files", type=int, default=2_000)
    parser.add_argument("--json-out", type=Path)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    try:
        results = measured(options, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    publish(results, options.json_out, lambda axes: draw(results, axes))
    if not results["goals"]["nothing lost or doubled"]:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
