"""WebDataset tars and Parquet: media stay bytes, the stream goes on from any row."""

import io
import json
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
import recordings
from PIL import Image

from unisono.errors import BadRowError, DataError, MissingExtraError
from unisono.manifests import ConversationRow, Manifest, PairRow, StreamedManifest, open_manifest

datasets = pytest.importorskip("datasets")
pyarrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

SOUND = recordings.make_audio(seconds=0.2)


def picture(shade: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (9, 7), (shade, shade, shade)).save(file, "PNG")
    return file.getvalue()


def tar(path: Path, samples: dict[str, dict[str, bytes]]) -> Path:
    with tarfile.open(path, "w") as archive:
        for key, members in samples.items():
            for ending, content in members.items():
                info = tarfile.TarInfo(f"{key}.{ending}")
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return path


def shards(folder: Path) -> Path:
    for shard in range(2):
        tar(
            folder / f"shard-{shard}.tar",
            {
                f"{shard}{i}": {"png": picture(10 * i), "txt": f"grey {shard}{i}".encode()}
                for i in range(4)
            },
        )
    return folder / "shard-*.tar"


def test_tars_are_streamed_from_any_row(tmp_path: Path) -> None:
    rows = open_manifest(shards(tmp_path))
    assert isinstance(rows, StreamedManifest)
    every = list(rows.stream())
    assert [row.text for row in every] == [f"grey {s}{i}" for s in range(2) for i in range(4)]  # type: ignore[union-attr]
    assert every[5].name == "shard-1.tar:11"  # type: ignore[union-attr]
    assert isinstance(every[5], PairRow)
    assert every[5].image == picture(10)
    for start in range(9):
        assert list(rows.stream(start)) == every[start:]


def test_a_tar_of_sounds_with_conversations(tmp_path: Path) -> None:
    said = {
        "messages": [
            {"role": "user", "content": "Hello."},
            {"role": "assistant", "content": "Good day."},
        ]
    }
    tar(tmp_path / "a.tar", {"x": {"json": json.dumps(said).encode()}})
    (row,) = open_manifest(tmp_path / "a.tar").stream()  # type: ignore[union-attr]
    assert isinstance(row, ConversationRow)
    tar(tmp_path / "b.tar", {"x": {"wav": SOUND, "json": b'{"caption": "a tone"}'}})
    (row,) = open_manifest(tmp_path / "b.tar").stream()  # type: ignore[union-attr]
    assert isinstance(row, PairRow)
    assert (row.text, row.audio) == ("a tone", SOUND)


def with_member(path: Path, name: str, kind: bytes) -> None:
    with tarfile.open(path, "a") as archive:
        info = tarfile.TarInfo(name)
        info.type = kind
        archive.addfile(info)


def test_empty_tars_and_folders_are_no_rows(tmp_path: Path) -> None:
    good = {"png": picture(0), "txt": b"grey"}
    for n, samples in enumerate([{"a": good, "b": good}, {}, {"d/c": good}, {"e": good}]):
        tar(tmp_path / f"{n}.tar", samples)
    with_member(tmp_path / "2.tar", "d/", tarfile.DIRTYPE)
    rows = open_manifest(tmp_path / "*.tar")
    for start in range(5):
        names = [row.name for row in rows.stream(start)]  # type: ignore[union-attr]
        assert names == ["0.tar:a", "0.tar:b", "2.tar:d/c", "3.tar:e"][start:]
    with pytest.raises(DataError, match="has no rows"):
        open_manifest(tmp_path / "1.tar")


def test_a_json_names_the_members_beside_it(tmp_path: Path) -> None:
    asked = [{"type": "image", "image": "7.png"}, {"type": "text", "text": "What?"}]
    answer = {"role": "assistant", "content": "Grey."}
    ours = {"messages": [{"role": "user", "content": asked}, answer]}
    turns = [{"from": "human", "value": "<image><image>"}, {"from": "gpt", "value": "Both."}]
    images = {"a.png": picture(1), "b.png": picture(2)}
    samples = {
        "7": {"png": picture(7), "json": json.dumps(ours).encode()},
        "8": {
            **images,
            "json": json.dumps({"conversations": turns, "image": ["8.a.png", "b.png"]}).encode(),
        },
        "9": {"seg.png": picture(3), "png": picture(9), "json": b'{"image": "lost.png", "n": 1}'},
    }
    tar(tmp_path / "a.tar", samples)
    said, two, pair = open_manifest(tmp_path / "a.tar").stream()  # type: ignore[union-attr]
    assert isinstance(said, ConversationRow)
    assert said.messages[0].parts[0].image == picture(7)  # type: ignore[union-attr]
    assert not said.fields
    assert isinstance(two, ConversationRow)
    assert [part.image for part in two.messages[0].parts] == [picture(1), picture(2)]  # type: ignore[union-attr]
    assert pair == PairRow("a.tar:9", image=picture(9), fields={"n": 1})


def test_broken_samples_stand_in_their_place(tmp_path: Path) -> None:
    good = {"png": picture(0), "txt": b"grey"}
    tar(tmp_path / "a.tar", {"a": good, "b": {"txt": b"\xff\xfe", "png": picture(1)}, "c": good})
    found = list(open_manifest(tmp_path / "a.tar").stream())  # type: ignore[union-attr]
    assert [type(one) for one in found] == [PairRow, BadRowError, PairRow]
    assert str(found[1]).startswith("a.tar:b: ")


def test_a_torn_tar(tmp_path: Path) -> None:
    whole = shards(tmp_path).parent / "shard-0.tar"
    (tmp_path / "torn.tar").write_bytes(b"x" * 600 + whole.read_bytes()[:900])
    with pytest.raises(DataError, match="torn"):
        list(open_manifest(tmp_path / "torn.tar").stream())  # type: ignore[union-attr]


def table(path: Path, rows: list[dict[str, Any]]) -> Path:
    datasets.Dataset.from_list(rows).to_parquet(str(path))
    return path


def test_parquet_by_number_and_as_a_stream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    said = [
        {"text": f"grey {i}", "image": {"bytes": picture(i), "path": None}, "n": i}
        for i in range(5)
    ]
    path = table(tmp_path / "rows.parquet", said)
    by_number = open_manifest(path)
    assert isinstance(by_number, Manifest)
    streamed = open_manifest(path, streaming=True)
    assert isinstance(streamed, StreamedManifest)
    rows = [by_number[i] for i in range(len(by_number))]
    assert [row.text for row in rows] == [row["text"] for row in said]  # type: ignore[union-attr]
    assert rows[3].image == picture(3)  # type: ignore[union-attr]
    assert rows[3].fields == {"n": 3}
    assert rows[3].name == "rows.parquet:3"
    assert list(streamed.stream()) == rows
    assert list(streamed.stream(2)) == rows[2:]


def test_a_torn_table(tmp_path: Path) -> None:
    (tmp_path / "torn.parquet").write_bytes(b"PAR1 and nothing more")
    with pytest.raises(DataError, match=r"torn\.parquet"):
        open_manifest(tmp_path / "torn.parquet")


def test_pictures_and_sounds_of_datasets_stay_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Columns that `datasets` itself would decode."""
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    features = datasets.Features(
        {"caption": datasets.Value("string"), "image": datasets.Image(), "audio": datasets.Audio()}
    )
    schema = features.arrow_schema
    rows = [{"caption": "x", "image": {"bytes": picture(3), "path": None}, "audio": None}]
    rows += [{"caption": "y", "image": None, "audio": {"bytes": SOUND, "path": "y.wav"}}]
    parquet.write_table(pyarrow.Table.from_pylist(rows, schema=schema), tmp_path / "a.parquet")
    expected = [
        PairRow("a.parquet:0", "x", image=picture(3)),
        PairRow("a.parquet:1", "y", audio=SOUND),
    ]
    by_number = open_manifest(tmp_path / "a.parquet")
    assert [by_number[i] for i in range(2)] == expected  # type: ignore[index]
    assert list(open_manifest(tmp_path / "a.parquet", streaming=True).stream(0)) == expected  # type: ignore[union-attr]


def test_several_tables_name_their_own_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    for name, count in (("a", 3), ("b", 2), ("c", 4)):
        rows = [{"text": f"{name}{i}" if i != 1 else None} for i in range(count)]
        table(tmp_path / f"{name}.parquet", rows)
    names = [f"{name}.parquet:{i}" for name, n in (("a", 3), ("b", 2), ("c", 4)) for i in range(n)]
    streamed = open_manifest(tmp_path / "*.parquet", streaming=True)
    for start in range(10):
        found = [str(getattr(row, "name", row)) for row in streamed.stream(start)]  # type: ignore[union-attr]
        assert [one.partition(": ")[0] for one in found] == names[start:]
    by_number = open_manifest(tmp_path / "*.parquet")
    assert by_number[8].text == "c3"  # type: ignore[index, union-attr]
    with pytest.raises(BadRowError, match=r"^b\.parquet:1: a row must have"):
        by_number[4]  # type: ignore[index]
    with pytest.raises(IndexError):
        by_number[9]  # type: ignore[index]


def test_conversations_in_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Arrow gives every part all columns; those that are null are no fields."""
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    asked = [
        {"type": "image", "image": {"bytes": picture(5), "path": None}},
        {"type": "text", "text": "What?"},
    ]
    said = [{"type": "text", "text": "Grey."}]
    messages = [{"role": "user", "content": asked}, {"role": "assistant", "content": said}]
    rows = open_manifest(table(tmp_path / "a.parquet", [{"messages": messages}]))
    parts = rows[0].messages[0].parts  # type: ignore[index, union-attr]
    assert [part.type for part in parts] == ["image", "text"]
    assert parts[0].image == picture(5)  # type: ignore[union-attr]


def test_without_datasets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = table(tmp_path / "a.parquet", [{"text": "x"}])
    monkeypatch.setitem(sys.modules, "datasets", None)
    for streaming in (True, False):
        with pytest.raises(MissingExtraError, match=r"pip install 'unisono\[train\]'"):
            open_manifest(path, streaming=streaming)
    assert open_manifest(tar(tmp_path / "a.tar", {"x": {"txt": b"needs none"}}))


def test_a_tar_cut_short(tmp_path: Path) -> None:
    """Rows before the cut are there; the cut is not taken for the end."""
    whole = (shards(tmp_path).parent / "shard-0.tar").read_bytes()
    with tarfile.open(tmp_path / "shard-0.tar") as archive:
        last = archive.getmembers()[-1]
    for there in (last.offset_data + 1, last.offset + 100):
        (tmp_path / "cut.tar").write_bytes(whole[:there])
        rows = open_manifest(tmp_path / "cut.tar").stream()  # type: ignore[union-attr]
        assert [next(rows).name for _ in range(3)] == [f"cut.tar:0{i}" for i in range(3)]
        with pytest.raises(DataError, match=r"cut\.tar' is torn"):
            list(rows)
