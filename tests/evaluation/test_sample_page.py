"""The page of samples shows media, answers and references, and cannot be broken by them."""

import base64
import re
import wave
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from unisono.conversation import AudioPart, ImagePart, Message, TextPart, VideoPart
from unisono.evaluation import Prediction, Results, Score, Subject
from unisono.evaluation.sample_page import sample_page, write_sample_page
from unisono.manifests.row import ConversationRow, PairRow, Row

RESULTS = Results("answers", {}, Subject("my <model>", "m"), 2, scores={"right": Score.of([1, 0])})


def rows() -> list[Row]:
    sound = (np.sin(np.arange(16_000) / 9).astype(np.float32) * 0.5, 16_000)
    question = (
        ImagePart(image=Image.new("RGBA", (900, 400), "red")),
        AudioPart(audio=sound),
        VideoPart(video=[np.zeros((40, 60, 3), np.uint8)] * 6),
        TextPart(text="What is <b>this</b>?"),
    )
    return [
        ConversationRow("q:1", (Message(role="user", content=question),)),
        PairRow("q:2", text="a dog", image="missing.png"),
        PairRow("q:3", text="never asked"),
    ]


PREDICTIONS = [
    Prediction("q:1", {"target": ["a dog"], "answer": "<script>alert(1)</script>"}),
    Prediction("q:2", {}, error="no such file"),
]


class Seen(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)


def test_media_and_words_are_shown() -> None:
    page = sample_page(RESULTS, rows(), PREDICTIONS)
    tags = Seen(page).tags
    assert (tags.count("article"), tags.count("img"), tags.count("audio")) == (2, 5, 1)
    assert "script" not in tags
    assert "b" not in tags
    assert "my &lt;model&gt;" in page
    assert "never asked" not in page
    assert 'class="bad"' in page
    assert "missing.png" in page


def test_what_is_inside_can_be_opened() -> None:
    page = sample_page(RESULTS, rows(), PREDICTIONS)
    pictures = re.findall(r"data:image/jpeg;base64,([^\"]+)", page)
    assert Image.open(BytesIO(base64.b64decode(pictures[0]))).size == (320, 142)
    (sound,) = re.findall(r"data:audio/wav;base64,([^\"]+)", page)
    with wave.open(BytesIO(base64.b64decode(sound))) as file:
        assert (file.getnframes(), file.getframerate()) == (16_000, 16_000)


def test_only_so_many_are_shown(tmp_path: Path) -> None:
    many: list[Row] = [PairRow(f"r:{i}", text=str(i)) for i in range(500)]
    predictions = [Prediction(row.name, {"answer": "x"}) for row in many]
    write_sample_page(RESULTS, many, predictions, tmp_path / "samples.html")
    assert (tmp_path / "samples.html").read_text().count("<article") == 200
