"""JSONL and JSON: rows by number, in our form and LLaVA's; broken rows are named."""

import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unisono.conversation import AudioPart, ImagePart, Message, TextPart, VideoPart
from unisono.errors import BadRowError, DataError
from unisono.manifests import (
    ConversationRow,
    Manifest,
    PairRow,
    modality_of,
    open_manifest,
    write_llava,
    write_manifest,
)
from unisono.manifests import lines as lines_module

ANSWER = {"role": "assistant", "content": "A bell."}


def written(folder: Path, *rows: Any, name: str = "rows.jsonl") -> Path:
    path = folder / name
    path.write_text("".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in rows))
    return path


def only(folder: Path, row: Any) -> Any:
    return open_manifest(written(folder, row))[0]  # type: ignore[index]


def test_pairs_and_conversations(tmp_path: Path) -> None:
    asked = [{"type": "audio", "audio": "a/b.wav"}, {"type": "text", "text": "What is it?"}]
    rows = open_manifest(
        written(
            tmp_path,
            {"image": "x.jpg", "text": "a kite", "licence": "CC0"},
            {"messages": [{"role": "user", "content": asked}, ANSWER], "id": 7},
            {"caption": "rain", "audio": "/far/away.ogg"},
        )
    )
    assert isinstance(rows, Manifest)
    assert len(rows) == 3
    pair, said, other = rows[0], rows[1], rows[2]
    assert pair == PairRow(
        "rows.jsonl:1", "a kite", image=str(tmp_path / "x.jpg"), fields={"licence": "CC0"}
    )
    assert isinstance(said, ConversationRow)
    assert said.messages[0].parts[0] == AudioPart(audio=str(tmp_path / "a/b.wav"))
    assert (said.name, said.fields) == ("rows.jsonl:2", {"id": 7})
    assert other == PairRow("rows.jsonl:3", "rain", audio="/far/away.ogg")
    assert [modality_of(row) for row in (pair, said, other)] == ["image", "audio", "audio"]


def test_media_may_lie_elsewhere(tmp_path: Path) -> None:
    rows = open_manifest(written(tmp_path, {"image": "x.jpg", "text": "t"}), media="/data")
    assert rows[0].image == "/data/x.jpg"  # type: ignore[index, union-attr]


def test_pictures_in_fields_are_found_too(tmp_path: Path) -> None:
    row = only(tmp_path, {"image": "a.png", "image_2": "b.png", "segmentation": "m.png"})
    found = {"image_2": str(tmp_path / "b.png"), "segmentation": str(tmp_path / "m.png")}
    assert row.fields == found
    with pytest.raises(BadRowError, match=r"^rows\.jsonl:1: .*leads out of the folder"):
        only(tmp_path, {"image": "a.png", "image_2": "../b.png"})


def test_relative_paths_stay_in_the_media_folder(tmp_path: Path) -> None:
    patch = {"patch": "../../p.bin", "start_num": 0, "size": 1}
    for image in ("../x.jpg", "a/../../x.jpg", patch):
        with pytest.raises(BadRowError, match=r"^rows\.jsonl:1: path '.*' leads out of the folder"):
            only(tmp_path, {"image": image, "text": "t"})
    for inside in ("a/../x.jpg", "..x.jpg", "/elsewhere/../x.jpg", "./x.jpg"):
        assert only(tmp_path, {"image": inside}).image == str(tmp_path / inside)


def test_a_video_may_be_its_frames(tmp_path: Path) -> None:
    frames = ["1.png", {"bytes": None, "path": "2.png"}]
    paths = [str(tmp_path / "1.png"), str(tmp_path / "2.png")]
    assert only(tmp_path, {"video": frames, "text": "t"}).video == paths
    with pytest.raises(BadRowError, match="image must be a path, bytes or a patch, but is \\["):
        only(tmp_path, {"image": frames, "text": "t"})


def test_empty_columns_of_a_table_are_no_fields(tmp_path: Path) -> None:
    asked = [{"type": "text", "text": "Hm?", "image": None}, {"type": "image", "image": None}]
    good = [{"role": "user", "content": asked[:1]}, ANSWER]
    row = only(tmp_path, {"messages": good, "conversations": None, "text": None})
    assert row.messages[0].parts == (TextPart(text="Hm?"),)
    with pytest.raises(BadRowError, match=r"rows\.jsonl:1: message 1, field"):
        only(tmp_path, {"messages": [{"role": "user", "content": asked}, ANSWER]})


text = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)


@settings(max_examples=40, deadline=None)
@given(
    texts=st.lists(text, min_size=1, max_size=12),
    end=st.sampled_from(["\n", "\r\n", "\n\n", "\n \n", "\n \t  \r\n\n", "\n  "]),
    before=st.sampled_from(["", "\n", "    \n", "  "]),
    closed=st.booleans(),
)
def test_any_line_is_found(
    texts: list[str],
    end: str,
    before: str,
    closed: bool,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    path = tmp_path_factory.mktemp("lines") / "rows.jsonl"
    lines = [json.dumps({"text": one}, ensure_ascii=False) for one in texts]
    content = (before + end.join(lines) + (end if closed else "")).encode()
    path.write_bytes(content)
    rows = open_manifest(path)
    numbers = [n for n, line in enumerate(content.split(b"\n"), 1) if line.strip()]
    read = [rows[i] for i in range(len(rows))]  # type: ignore[index, arg-type]
    assert [row.text for row in read] == texts  # type: ignore[union-attr]
    assert [row.name for row in read] == [f"rows.jsonl:{n}" for n in numbers]


@pytest.mark.parametrize("block", [1, 2, 3, 7, 16])
def test_lines_are_found_across_blocks(
    tmp_path: Path, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines_module, "_READ_AT_ONCE", block)
    (tmp_path / "rows.jsonl").write_bytes(b'\n{"text": "a"}\n   \n\n {"text": "b"}\n{"text": "c"}')
    rows = open_manifest(tmp_path / "rows.jsonl")
    assert [(rows[i].name, rows[i].text) for i in range(3)] == [  # type: ignore[index, union-attr]
        ("rows.jsonl:2", "a"),
        ("rows.jsonl:5", "b"),
        ("rows.jsonl:6", "c"),
    ]
    assert len(rows) == 3  # type: ignore[arg-type]


def test_broken_rows_are_named_and_the_others_stand(tmp_path: Path) -> None:
    """5 % of the rows are broken, each in its own way."""
    broken = {
        3: "{torn",
        13: "[1, 2]",
        23: json.dumps({"image": 5, "text": "x"}),
        33: json.dumps({"messages": [{"role": "user", "content": "no answer"}]}),
        43: json.dumps({"nothing": 1}),
    }
    rows = [broken.get(i, json.dumps({"text": f"row {i}"})) for i in range(100)]
    manifest = open_manifest(written(tmp_path, *rows))
    for i in range(100):
        if i in broken:
            with pytest.raises(BadRowError, match=rf"^rows\.jsonl:{i + 1}: [^\n]*$"):
                manifest[i]  # type: ignore[index]
        else:
            assert manifest[i].text == f"row {i}"  # type: ignore[index, union-attr]


def test_several_files_are_one(tmp_path: Path) -> None:
    for name, count in (("a.jsonl", 2), ("b.jsonl", 3)):
        written(tmp_path, *({"text": f"{name} {i}"} for i in range(count)), name=name)
    (tmp_path / "c.json").write_text(json.dumps([{"text": "c 0"}]))
    rows = open_manifest([tmp_path / "*.jsonl", tmp_path / "c.json"])
    texts = [rows[i].text for i in range(len(rows))]  # type: ignore[index, union-attr, arg-type]
    assert texts == ["a.jsonl 0", "a.jsonl 1", "b.jsonl 0", "b.jsonl 1", "b.jsonl 2", "c 0"]
    with pytest.raises(IndexError):
        rows[6]  # type: ignore[index]


def test_files_of_one_name_are_told_apart(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        written(tmp_path / folder, {"text": "t"}, {"image": "i.png"})
    rows = open_manifest(tmp_path / "*" / "rows.jsonl")
    assert [rows[i].name for i in range(4)] == [  # type: ignore[index]
        "a/rows.jsonl:1",
        "a/rows.jsonl:2",
        "b/rows.jsonl:1",
        "b/rows.jsonl:2",
    ]
    assert rows[3].image == str(tmp_path / "b" / "i.png")  # type: ignore[index, union-attr]


def test_a_json_file_of_lines(tmp_path: Path) -> None:
    rows = open_manifest(written(tmp_path, {"text": "a"}, "{torn", {"text": "c"}, name="a.json"))
    assert rows[2].text == "c"  # type: ignore[index, union-attr]
    with pytest.raises(BadRowError, match=r"a\.json:2"):
        rows[1]  # type: ignore[index]


def test_another_fingerprint_for_other_files(tmp_path: Path) -> None:
    path = written(tmp_path, {"text": "a"})
    first = open_manifest(path).fingerprint
    assert open_manifest(path).fingerprint == first
    written(tmp_path, {"text": "a"}, {"text": "b"})
    assert open_manifest(path).fingerprint != first


def test_a_forked_process_reads_too(tmp_path: Path) -> None:
    rows = open_manifest(written(tmp_path, *({"text": f"row {i}"} for i in range(200))))
    texts = [f"row {i}" for i in range(200)]
    child = os.fork()
    if child == 0:
        right = [rows[i].text for i in range(200)] == texts  # type: ignore[index, union-attr]
        os._exit(0 if right else 1)
    assert [rows[i].text for i in range(200)] == texts  # type: ignore[index, union-attr]
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_threads_read_at_once(tmp_path: Path) -> None:
    rows = open_manifest(written(tmp_path, *({"text": f"{i} " + "x" * i} for i in range(300))))
    wrong = []

    def read(offset: int) -> None:
        for i in range(300):
            k = (i * 7 + offset) % 300
            if not rows[k].text.startswith(f"{k} "):  # type: ignore[index, union-attr]
                wrong.append(k)

    threads = [threading.Thread(target=read, args=(k * 50,)) for k in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("none.jsonl", None, "there is no manifest"),
        ("empty.jsonl", "", "has no rows"),
        ("blank.jsonl", "\n \n", "has no rows"),
        ("torn.json", "[{", "is not JSON"),
        ("object.json", "{}", "must be an array"),
        ("line.json", '{"text": "a"}\n', "must be an array"),
        ("rows.csv", "a,b", "must be .jsonl"),
        ("rows", "a,b", "without an ending"),
        ("", None, "is a folder"),
    ],
)
def test_what_is_no_manifest(tmp_path: Path, name: str, content: str | None, says: str) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=says):
        open_manifest(tmp_path / name)


# --- LLaVA and Ola ---------------------------------------------------------------------------


def llava(human: str, **fields: Any) -> dict[str, Any]:
    turns = [{"from": "human", "value": human}, {"from": "gpt", "value": "Yes."}]
    return {"id": 1, **fields, "conversations": turns}


def test_marks_become_media_in_place(tmp_path: Path) -> None:
    row = only(
        tmp_path,
        llava("<image>\nAnd <image>? Listen: <speech>", image=["1.png", "2.png"], audio="a.wav"),
    )
    first, second, sound = (str(tmp_path / n) for n in ("1.png", "2.png", "a.wav"))
    assert row.messages[0].parts == (
        ImagePart(image=first),
        TextPart(text="And"),
        ImagePart(image=second),
        TextPart(text="? Listen:"),
        AudioPart(audio=sound),
    )
    assert row.messages[1] == Message(role="assistant", content="Yes.")
    assert row.fields == {"id": 1}


def test_an_image_mark_is_the_video_as_ola_has_it(tmp_path: Path) -> None:
    row = only(tmp_path, llava("<speech><image>\nWhy?", video="v.mp4", audio="a.wav"))
    kinds = [type(part) for part in row.messages[0].parts]
    assert kinds == [AudioPart, VideoPart, TextPart]


def test_a_question_asked_by_sound(tmp_path: Path) -> None:
    spoken = {"audio_q": "q.wav", "text_q": "What is it?"}
    at_its_mark = only(tmp_path, llava("<image>\n<speech>", image="i.png", **spoken))
    in_place_of_words = only(tmp_path, llava("<image>\nWhat is it?", image="i.png", **spoken))
    for row in (at_its_mark, in_place_of_words):
        assert row.messages[0].parts == (
            ImagePart(image=str(tmp_path / "i.png")),
            AudioPart(audio=str(tmp_path / "q.wav"), transcript="What is it?"),
        )
        assert row.fields == {"id": 1, "text_q": "What is it?"}
    both = only(
        tmp_path, llava("<image>\nListen: <speech><speech>", image="i", audio="a", **spoken)
    )
    heard = [part for part in both.messages[0].parts if part.type == "audio"]
    assert [part.transcript for part in heard] == [None, "What is it?"]
    with pytest.raises(BadRowError, match="audio must be a path"):
        only(tmp_path, llava("Hm?", audio_q=7))
    with pytest.raises(BadRowError, match="0 marks for audio, but the row has 1"):
        only(tmp_path, llava("Hm?", audio="a.wav", **spoken))


def test_a_video_is_not_heard_twice(tmp_path: Path) -> None:
    beside = only(tmp_path, llava("<speech><image>\nWhy?", video="v.mp4", audio="v.wav"))
    alone = only(tmp_path, llava("<video>\nWhy?", video="v.mp4"))
    assert beside.messages[0].parts[1] == VideoPart(video=str(tmp_path / "v.mp4"), use_audio=False)
    assert alone.messages[0].parts[0] == VideoPart(video=str(tmp_path / "v.mp4"))


def test_several_media_may_have_a_name_in_the_plural(tmp_path: Path) -> None:
    row = only(tmp_path, llava("<image><image>", images=["1.png", "2.png"]))
    paths = [part.image for part in row.messages[0].parts]
    assert paths == [str(tmp_path / "1.png"), str(tmp_path / "2.png")]


def test_counts_that_differ_are_both_named(tmp_path: Path) -> None:
    for human, fields, says in (
        ("<image><image>", {"image": "1.png"}, "2 marks for image, but the row has 1"),
        ("no mark", {"audio": "a.wav"}, "0 marks for audio, but the row has 1"),
        ("<video>", {}, "1 marks for video, but the row has 0"),
    ):
        with pytest.raises(BadRowError, match=f"rows.jsonl:1: .*{says}"):
            only(tmp_path, llava(human, **fields))


def test_llava_is_written_and_read_again(tmp_path: Path) -> None:
    said = Message(
        role="user",
        content=(ImagePart(image=str(tmp_path / "i.png")), TextPart(text="What?")),
    )
    row = ConversationRow("x", (said, Message(role="assistant", content="A kite.")), {"id": "a"})
    assert write_llava([row], tmp_path / "out.json") == 1
    again = open_manifest(tmp_path / "out.json")[0]  # type: ignore[index]
    assert json.loads((tmp_path / "out.json").read_text())[0]["image"] == "i.png"
    assert again.messages[0] == said
    assert again.messages[1].parts == row.messages[1].parts
    assert again.fields == row.fields


words = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=12).filter(
    lambda said: said.strip() == said and "<" not in said
)
names = st.from_regex(r"[a-z]{1,6}(/[a-z]{1,4})?\.bin", fullmatch=True)


@st.composite
def asked(draw: st.DrawFn) -> list[Any]:
    """Parts of a question that LLaVA's form can say: two texts are never neighbours."""
    kinds = draw(st.lists(st.sampled_from([ImagePart, AudioPart, VideoPart]), max_size=4))
    heard = AudioPart in kinds
    parts: list[Any] = [TextPart(text=draw(words))]
    for kind in kinds:
        path = f"/media/{draw(names)}"
        silent = {"use_audio": False} if kind is VideoPart and heard else {}
        parts.append(kind(**{kind.model_fields["type"].default: path}, **silent))
        if draw(st.booleans()):
            parts.append(TextPart(text=draw(words)))
    return parts


@settings(max_examples=40, deadline=None)
@given(st.lists(asked(), min_size=1, max_size=4))
def test_any_conversation_comes_back_from_llava(
    tmp_path_factory: pytest.TempPathFactory, questions: list[list[Any]]
) -> None:
    path = tmp_path_factory.mktemp("llava") / "out.json"
    answer = Message(role="assistant", content="Yes, <image> and all.")
    rows = [
        ConversationRow("x", (Message(role="user", content=tuple(parts)), answer), {"n": n})
        for n, parts in enumerate(questions)
    ]
    assert write_llava(rows, path) == len(rows)
    again = open_manifest(path)
    for n, row in enumerate(rows):
        assert [m.parts for m in again[n].messages] == [m.parts for m in row.messages]  # type: ignore[index, union-attr]
        assert again[n].fields == {"n": n}  # type: ignore[index]


@pytest.mark.parametrize(
    ("part", "says"),
    [
        (TextPart(text="a <video> tag"), "would be read as a medium"),
        (AudioPart(audio="/a.wav", transcript="Hm?"), "transcript"),
        (VideoPart(video="/v.mp4", use_audio=False), "use_audio"),
    ],
)
def test_what_llavas_form_cannot_say(tmp_path: Path, part: Any, says: str) -> None:
    said = (Message(role="user", content=(part,)), Message(role="assistant", content="Yes."))
    with pytest.raises(DataError, match=rf"^here:1: .*{says}"):
        write_llava([ConversationRow("here:1", said)], tmp_path / "out.json")
    assert not list(tmp_path.iterdir())


def test_media_elsewhere_are_written_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a path relative to where one works to one that is right beside the new manifest."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    url = "data:image/png;base64,AA//BB=="
    rows = [
        PairRow("x", "t", image="pictures/i.png"),
        PairRow("x", "t", image="out/i.png"),
        PairRow("x", "t", image=url),
        PairRow("x", "t", video=("out/1.png", "/2.png")),
    ]
    write_manifest(rows, "out/rows.jsonl")
    said = [json.loads(line) for line in (tmp_path / "out/rows.jsonl").read_text().splitlines()]
    assert [row.get("image") for row in said] == [
        str(tmp_path / "pictures/i.png"),
        "i.png",
        url,
        None,
    ]
    assert said[3]["video"] == ["1.png", "/2.png"]
    again = open_manifest("out/rows.jsonl")
    assert again[2].image == url  # type: ignore[index, union-attr]
    assert again[3].video == ["out/1.png", "/2.png"]  # type: ignore[index, union-attr]


def test_our_form_is_written_and_read_again(tmp_path: Path) -> None:
    pair = PairRow("x", "a kite", image=str(tmp_path / "i.png"), fields={"n": 1})
    said = ConversationRow(
        "y",
        (
            Message(role="user", content=(VideoPart(video="/v.mp4", use_audio=False),)),
            Message(role="assistant", content="A kite."),
        ),
    )
    assert write_manifest([pair, said], tmp_path / "out.jsonl") == 2
    again = open_manifest(tmp_path / "out.jsonl")
    assert again[0].image == pair.image  # type: ignore[index, union-attr]
    assert again[0].fields == {"n": 1}  # type: ignore[index]
    assert again[1].messages == said.messages  # type: ignore[index, union-attr]


def test_what_cannot_be_written_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="only media in files"):
        write_manifest([PairRow("x", "t", image=b"bytes")], tmp_path / "out.jsonl")
    with pytest.raises(DataError, match="here:2: a field cannot be written"):
        write_manifest([PairRow("here:2", "t", fields={"a": b"x"})], tmp_path / "out.jsonl")
    with pytest.raises(DataError, match="here:3: a field cannot be written"):
        write_llava([ConversationRow("here:3", (), {"a": "\ud800"})], tmp_path / "out.json")
    with pytest.raises(DataError, match="cannot be written"):
        write_manifest([PairRow("x", "t")], tmp_path / "missing" / "out.jsonl")
    assert not list(tmp_path.iterdir())


# --- patch files -----------------------------------------------------------------------------


def test_media_in_a_patch_file(tmp_path: Path) -> None:
    (tmp_path / "p.bin").write_bytes(b"0123456789")
    one = {"patch": "p.bin", "start_num": 2, "size": 3}
    frames = {"patch": "p.bin", "start_num": 5, "size": [2, 3]}
    assert only(tmp_path, {"image": one, "text": "t"}).image == b"234"
    row = only(tmp_path, llava("<video>", video=frames))
    assert row.messages[0].parts[0].video == [b"56", b"789"]


@pytest.mark.parametrize(
    ("patch", "says"),
    [
        ({"start_num": 8, "size": 3}, "must have 11 bytes for this image, but has 10"),
        ({"start_num": 0, "size": [2, 2]}, "size must be one number for image"),
        ({"start_num": -1, "size": 3}, "must be a number of bytes"),
        ({"start_num": 0, "size": "3"}, "must be a number of bytes"),
        ({"start_num": 0, "size": []}, "must be a number of bytes"),
        ({"start_num": 0, "size": 1 << 40}, "a medium may have"),
        ({"start_num": 0}, "a patch must have"),
        ({"start_num": 0, "size": 1, "patch": "gone.bin"}, "gone.bin' cannot be read: No such"),
        ({"start_num": 0, "size": 1, "patch": "."}, "is not a file"),
        ({"start_num": 0, "size": 1, "patch": "a\0b"}, "cannot be read: embedded null"),
    ],
)
def test_a_broken_patch_is_a_broken_row(tmp_path: Path, patch: dict[str, Any], says: str) -> None:
    (tmp_path / "p.bin").write_bytes(b"0123456789")
    with pytest.raises(BadRowError, match=f"rows.jsonl:1: .*{says}"):
        only(tmp_path, {"image": {"patch": "p.bin", **patch}, "text": "t"})


def test_a_video_cut_short_in_its_patch(tmp_path: Path) -> None:
    (tmp_path / "p.bin").write_bytes(b"0123456789")
    frames = {"patch": "p.bin", "start_num": 0, "size": [9, 9]}
    with pytest.raises(BadRowError, match=r"rows.jsonl:1: .*p\.bin' must have 18 .* but has 10"):
        only(tmp_path, llava("<video>", video=frames))
