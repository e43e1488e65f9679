"""A page that shows what a model was given, what it said, and what is right: one HTML file.

Pictures are small copies, sounds and the like the beginnings: the page needs no other file, and
nothing of the network.
"""

import base64
import html
import io
import json
import wave
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from unisono.conversation import AudioPart, ImagePart, TextPart, VideoPart
from unisono.errors import UnisonoError
from unisono.evaluation.report import Results
from unisono.evaluation.task import Prediction
from unisono.manifests.row import PairRow, Row
from unisono.media import SAMPLE_RATE_HZ, load_audio, load_image, load_video

MOST_SAMPLES = 200
_SIDE_PX = 320
_FRAMES = 4
_SOUND_S = 10
_STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 64rem; margin: 2rem auto; padding: 0 1rem; }
article { border-top: 1px solid #8886; padding: 1rem 0; }
h2 { font-size: 1rem; margin: 0 0 .5rem; } .bad h2::after { content: " · failed"; color: #c33; }
img { max-width: 160px; margin: 0 .5rem .5rem 0; border-radius: 4px; } audio { display: block; }
dl { display: grid; grid-template-columns: 8rem 1fr; gap: .2rem 1rem; margin: .5rem 0 0; }
dt { color: #888; } dd { margin: 0; white-space: pre-wrap; overflow-wrap: anywhere; }
"""


def sample_page(
    results: Results,
    rows: Iterable[Row],
    predictions: Sequence[Prediction],
    most: int = MOST_SAMPLES,
) -> str:
    """The page.

    Args:
        results: for its head.
        rows: that were asked; those without a prediction are passed over.
        predictions: by the rows' names.
        most: samples shown, from the first row on.
    """
    made = {one.name: one for one in predictions}
    samples = ((row, made[row.name]) for row in rows if row.name in made)
    title = html.escape(f"{results.task}: {results.subject.model}")
    scores = "".join(
        f"<dt>{html.escape(name)}</dt><dd>{score.value:.4g}</dd>"
        for name, score in results.scores.items()
    )
    articles = "\n".join(_article(row, one) for row, one in islice(samples, most))
    return (
        f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>{title}</title>\n'
        f"<style>{_STYLE}</style>\n<h1>{title}</h1>\n<dl>{scores}</dl>\n{articles}\n</html>\n"
    )


def _article(row: Row, prediction: Prediction) -> str:
    told: dict[str, Any] = {**prediction.output}
    if prediction.error is not None:
        told["error"] = prediction.error
    terms = "".join(
        f"<dt>{html.escape(name)}</dt><dd>{html.escape(_text(value))}</dd>"
        for name, value in told.items()
    )
    bad = ' class="bad"' if prediction.error is not None else ""
    media = "".join(_shown(row))
    return f"<article{bad}><h2>{html.escape(row.name)}</h2>{media}<dl>{terms}</dl></article>"


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    shown = json.dumps(value, ensure_ascii=False)
    return shown if len(shown) <= 2000 else f"{shown[:2000]} …"


def _shown(row: Row) -> Iterator[str]:
    """Everything that the row gives, as HTML."""
    for kind, source in _parts(row):
        if source is None:
            continue
        try:
            yield _SHOWN[kind](source)
        except UnisonoError as error:
            yield f"<p>({html.escape(str(error))})</p>"


def _parts(row: Row) -> Iterator[tuple[str, Any]]:
    if isinstance(row, PairRow):
        yield from ((kind, getattr(row, kind)) for kind in ("image", "video", "audio", "text"))
        return
    for part in (part for message in row.messages for part in message.parts):
        if isinstance(part, ImagePart):
            yield "image", part.image
        elif isinstance(part, VideoPart):
            yield "video", part.video
        elif isinstance(part, AudioPart):
            yield "audio", part.audio
        elif isinstance(part, TextPart):
            yield "text", part.text


def _image(source: Any) -> str:
    return _picture(load_image(source))


def _video(source: Any) -> str:
    frames = load_video(source, frames=_FRAMES, with_audio=False).frames
    return "".join(_picture(Image.fromarray(frame)) for frame in frames)


def _audio(source: Any) -> str:
    samples = load_audio(source)[: _SOUND_S * SAMPLE_RATE_HZ]
    held = io.BytesIO()
    with wave.open(held, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE_HZ)
        file.writeframes((samples.clip(-1, 1) * 32767).astype(np.int16).tobytes())
    return f'<audio controls src="{_inline("audio/wav", held.getvalue())}"></audio>'


def _paragraph(text: str) -> str:
    return f"<p>{html.escape(text)}</p>"


_SHOWN: Mapping[str, Callable[[Any], str]] = {
    "image": _image,
    "video": _video,
    "audio": _audio,
    "text": _paragraph,
}


def _picture(image: Image.Image) -> str:
    small = image.convert("RGB")
    small.thumbnail((_SIDE_PX, _SIDE_PX))
    held = io.BytesIO()
    small.save(held, "JPEG", quality=80)
    return f'<img alt="" src="{_inline("image/jpeg", held.getvalue())}">'


def _inline(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def write_sample_page(
    results: Results, rows: Any, predictions: Sequence[Prediction], path: Path
) -> None:
    """Write the page of a run whose rows are known by number, or in order."""
    path.write_text(sample_page(results, _readable(rows), predictions), encoding="utf-8")


def _readable(rows: Any) -> Iterator[Row]:
    """All rows that are not broken."""
    if hasattr(rows, "stream"):
        yield from (row for row in rows.stream(0) if not isinstance(row, UnisonoError))
        return
    for place in range(len(rows)):
        try:
            yield rows[place]
        except UnisonoError:
            continue
