"""A filter finds what a plain reading of it says, in LanceDB, whatever characters names have."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import lancedb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unisono.errors import DataError
from unisono.retrieval.filters import MODALITIES, Filter

DAY_NS = 86_400 * 10**9
HOSTILE = [
    "/it's/here.png",
    "/x') OR 1=1 --.png",
    "/'; DROP TABLE pieces; --/a.png",
    "/100%_done.png",
    "/back\\slash\\.png",
    "/new\nline/tab\t.png",
    "/日本/Ünïcödé 🙂.png",
    "/[brackets]/{braces}(round).png",
    "/re.gex+|^$*?.png",
    "/a#&~-b.png",
    '/"quoted" `name`.png',
    "/plain.png",
]


def opened(folder: Path, rows: list[dict[str, Any]]) -> Any:
    """A table of the columns that filters read."""
    plain = {"modality": "image", "size_bytes": 10, "modified_ns": DAY_NS, "vector": [1.0, 0.0]}
    schema = pa.schema(
        [
            ("path", pa.string()),
            ("modality", pa.string()),
            ("size_bytes", pa.int64()),
            ("modified_ns", pa.int64()),
            ("vector", pa.list_(pa.float32(), 2)),
        ]
    )
    data = pa.Table.from_pylist([{**plain, **row} for row in rows], schema=schema)
    return lancedb.connect(folder).create_table("pieces", data)


def found(table: Any, chosen: Filter) -> set[str]:
    """Paths, by a search for vectors as well as by a scan: both must read the condition alike."""
    where = chosen.where()
    searched = table.search([1.0, 0.0]).where(where, prefilter=True).limit(1000).to_list()
    scanned = table.search().where(where).limit(1000).to_list()
    paths = {row["path"] for row in scanned}
    assert {row["path"] for row in searched} == paths
    return paths


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return opened(tmp_path_factory.mktemp("hostile"), [{"path": path} for path in HOSTILE])


def literal(path: str) -> str:
    """A pattern for this path alone."""
    return "".join(f"[{one}]" if one in "*?[" else one for one in path)


@pytest.mark.parametrize("path", HOSTILE)
def test_hostile_names_are_only_names(hostile: Any, path: str) -> None:
    assert found(hostile, Filter(path_glob=literal(path))) == {path}
    assert found(hostile, Filter(path_glob=literal(Path(path).name))) == {path}
    assert hostile.count_rows() == len(HOSTILE)


TREE = [
    "/home/ann/photos/cat.jpg",
    "/home/ann/photos/2024/dog.jpg",
    "/home/ann/photos/2024/may/dog.png",
    "/home/bob/photos.zip",
    "/photos/cat.jpg",
    "/srv/a.b/c",
]


@pytest.mark.parametrize(
    ("glob", "places"),
    [
        ("photos", [0, 1, 2, 4]),
        ("/photos", [4]),
        ("photos/", [0, 1, 2, 4]),
        ("/home/ann", [0, 1, 2]),
        ("/home/ann/*", [0, 1, 2]),
        ("*.jpg", [0, 1, 4]),
        ("photos/*.jpg", [0, 4]),
        ("photos/**/*.jpg", [0, 1, 4]),
        ("/home/*/photos", [0, 1, 2]),
        ("/home/**/may", [2]),
        ("?og.*", [1, 2]),
        ("[cd]?[tg].jpg", [0, 1, 4]),
        ("[!c]??.jpg", [1]),
        ("[a-c]at.jpg", [0, 4]),
        ("202[0-9]", [1, 2]),
        ("a.b", [5]),
        ("a?b", [5]),
        ("a*b", [5]),
        ("ann/dog.jpg", []),
        ("PHOTOS", []),
        ("[]", []),
        ("[!]", []),
        ("/srv/a[!x]b/c", [5]),
        ("/srv/a[!x]b[!x]c", []),
    ],
)
def test_patterns_for_paths(tmp_path: Path, glob: str, places: list[int]) -> None:
    table = opened(tmp_path, [{"path": path} for path in TREE])
    assert found(table, Filter(path_glob=glob)) == {TREE[place] for place in places}


def naive(glob: str, path: str) -> bool:
    """The pattern's meaning, one character after the other."""
    glob = glob.strip("/")
    tails = [path[i + 1 :] for i, one in enumerate(path) if one == "/"]
    return any(_from_here(glob, tail) for tail in tails)


def _from_here(glob: str, path: str) -> bool:  # noqa: PLR0911 -- a case a line
    if not glob:
        return not path or path.startswith("/")
    if glob.startswith("**/") and _from_here(glob[3:], path):
        return True
    if glob.startswith("**/"):
        return any(_from_here(glob[3:], path[i + 1 :]) for i, c in enumerate(path) if c == "/")
    if glob.startswith("**"):
        return any(_from_here(glob[2:], path[i:]) for i in range(len(path) + 1))
    if glob[0] == "*":
        ends = [i for i in range(len(path) + 1) if "/" not in path[:i]]
        return any(_from_here(glob[1:], path[i:]) for i in ends)
    if not path:
        return False
    matches = path[0] != "/" if glob[0] == "?" else path[0] == glob[0]
    return matches and _from_here(glob[1:], path[1:])


NAMES = st.lists(st.text("ab.'", min_size=1, max_size=3), min_size=1, max_size=3)


@settings(max_examples=20, deadline=None)
@given(
    paths=st.lists(NAMES.map(lambda names: "/" + "/".join(names)), min_size=1, max_size=8),
    globs=st.lists(st.text("ab.'*?/", min_size=1, max_size=6), min_size=1, max_size=6),
)
def test_patterns_mean_what_they_say(
    tmp_path_factory: pytest.TempPathFactory, paths: list[str], globs: list[str]
) -> None:
    table = opened(tmp_path_factory.mktemp("t"), [{"path": path} for path in paths])
    for glob in globs:
        if glob.startswith("/") or not glob.strip("/"):
            continue
        expected = {path for path in paths if naive(glob, path)}
        assert found(table, Filter(path_glob=glob)) == expected, glob


@settings(max_examples=60, deadline=None)
@given(glob=st.text(min_size=1, max_size=12))
def test_no_pattern_breaks_the_condition(hostile: Any, glob: str) -> None:
    """Whatever is typed is read by Lance, or refused by us."""
    try:
        chosen = Filter(path_glob=glob)
    except DataError:
        return
    assert hostile.count_rows(chosen.where()) <= len(HOSTILE)


def test_times_and_sizes(tmp_path: Path) -> None:
    start = datetime(2024, 5, 1, tzinfo=UTC)
    moments = [start + timedelta(days=day, microseconds=1) for day in range(5)]
    rows = [
        {
            "path": f"/{i}",
            "size_bytes": 10 * i,
            "modified_ns": int(moment.timestamp()) * 10**9 + 1000,
        }
        for i, moment in enumerate(moments)
    ]
    table = opened(tmp_path, rows)

    def kept(is_kept: Callable[[int], bool]) -> set[str]:
        return {f"/{i}" for i in range(5) if is_kept(i)}

    assert found(table, Filter(after=moments[2])) == kept(lambda i: i >= 2)
    assert found(table, Filter(before=moments[2])) == kept(lambda i: i < 2)
    assert found(table, Filter(after=moments[1], before=moments[4])) == kept(lambda i: 1 <= i < 4)
    assert found(table, Filter(larger_than=20)) == kept(lambda i: i > 2)
    assert found(table, Filter(smaller_than=20)) == kept(lambda i: i < 2)
    assert found(table, Filter(larger_than=0, smaller_than=31)) == kept(lambda i: 0 < i < 4)
    assert found(table, Filter(larger_than=10**30)) == set()
    for early, late in ((date.min, date.max), (datetime.min, datetime.max)):
        assert found(table, Filter(after=early, before=late)) == kept(lambda i: True)
    local = datetime.fromtimestamp(moments[2].timestamp()).replace(tzinfo=None)
    assert Filter(after=local) != Filter(after=moments[2])
    assert Filter(after=local).where() == Filter(after=moments[2]).where()
    midnight = datetime(2024, 5, 3)
    assert Filter(after=date(2024, 5, 3)).where() == Filter(after=midnight).where()


def test_conditions_add_up(tmp_path: Path) -> None:
    rows = [
        {"path": f"/{m}/{size}", "modality": m, "size_bytes": size}
        for m in MODALITIES
        for size in (1, 9)
    ]
    table = opened(tmp_path, rows)
    assert found(table, Filter(modalities=("audio", "page"))) == {
        "/audio/1",
        "/audio/9",
        "/page/1",
        "/page/9",
    }
    assert found(table, Filter(("audio", "text"), "*/9", larger_than=2)) == {"/audio/9", "/text/9"}
    assert Filter().where() is None
    assert found(table, Filter()) == {row["path"] for row in rows}


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"modalities": ("smell",)}, "one of text, image, audio, video, page, but is 'smell'"),
        ({"modalities": ("' OR ''='",)}, "modality must be one of"),
        ({"path_glob": ""}, "must name something"),
        ({"path_glob": "//"}, "must name something"),
        ({"path_glob": "[z-a]"}, r"range \[z-a\], which is empty"),
        ({"larger_than": -1}, "at least 0 bytes, but is -1"),
    ],
)
def test_filters_that_say_nothing(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        Filter(**fields)
