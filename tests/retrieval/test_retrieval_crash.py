"""An indexing process that is killed again and again loses and doubles nothing."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fake_embedder import FakeEmbedder

from unisono.retrieval import Library

FILES = 120
PROGRAM = """
import sys
sys.path[:0] = {path!r}
from fake_embedder import FakeEmbedder
from unisono.retrieval import Library, indexing
indexing.INTERVAL_S, indexing.INTERVAL_ROWS, indexing._PIECES_AT_ONCE = 0.1, 6, 4
Library(sys.argv[1], FakeEmbedder(delay_s=0.05)).index([sys.argv[2]])
"""


@pytest.mark.slow
def test_kill_9_three_times(tmp_path: Path) -> None:
    media, uri = tmp_path / "media", tmp_path / "library"
    media.mkdir()
    for number in range(FILES):
        text = f"number {number}.\n" * (60 if number % 10 == 0 else 1)
        (media / f"{number:04}.txt").write_text(text, encoding="utf-8")
    program = PROGRAM.format(path=[str(Path(__file__).parent.parent)])
    command = [sys.executable, "-c", program, str(uri), str(media)]
    library = Library(uri, FakeEmbedder())
    held = 0
    for _ in range(3):
        process = subprocess.Popen(command)
        deadline = time.monotonic() + 60
        while len(library) <= held + 6 and process.poll() is None:
            assert time.monotonic() < deadline, "nothing was written in a minute"
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, "it was over before it was killed"
        assert len(library) > held
        held = len(library)
    report = library.index([media])
    assert 0 < report.new < FILES
    rows = library.table.rows_of(library.table.files())
    found = {(row["path"], row["number"]) for row in rows}
    assert len(found) == len(rows) == len(library)
    assert len(library.table.files()) == FILES
    fresh = Library(tmp_path / "fresh", FakeEmbedder())
    fresh.index([media])
    assert len(fresh) == len(library)
