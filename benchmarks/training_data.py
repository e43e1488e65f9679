"""What training.py trains on: real text of many lengths, pictures in files, spoken questions.

Texts are the paragraphs of this project's own documents; pictures are drawn, and saved as JPEG of
the size a telephone's preview has; sounds are those of examples/questions.
"""

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

ROOT = Path(__file__).parents[1]
PICTURE_PX = (512, 384)


def paragraphs() -> list[str]:
    """Of 30 to 1,500 characters."""
    documents = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    found = [p.strip() for d in documents for p in d.read_text(encoding="utf-8").split("\n\n")]
    return [p for p in found if 30 <= len(p) <= 1500]


def draw_picture(path: Path, draws: random.Random) -> None:
    """Coloured discs on a grainy background."""
    width, height = PICTURE_PX
    grain = np.random.default_rng(draws.randrange(2**32)).integers(0, 60, (height, width, 3))
    picture = Image.fromarray((grain + draws.randrange(190)).astype(np.uint8))
    pen = ImageDraw.Draw(picture)
    for _ in range(12):
        x, y, r = draws.randrange(width), draws.randrange(height), draws.randrange(10, 80)
        colour = tuple(draws.randrange(256) for _ in range(3))
        pen.ellipse((x - r, y - r, x + r, y + r), fill=colour)
    picture.save(path, quality=90)


def write_rows(folder: Path, count: int) -> dict[str, Path]:
    """Manifests by name: "talk" (conversations), "pictures", "sounds" (pairs)."""
    draws = random.Random(0)
    texts = paragraphs()
    questions = _questions()
    rows: dict[str, list[dict[str, Any]]] = {"talk": [], "pictures": [], "sounds": []}
    for i in range(count):
        draw_picture(folder / f"{i:04d}.jpg", draws)
        asked = draws.choice(questions)
        sound = f"{i:04d}.ogg"
        spoken = ROOT / "examples" / "questions" / f"{asked['id']}.ogg"
        (folder / sound).write_bytes(spoken.read_bytes())
        text, short = draws.choice(texts), draws.choice(texts).split(". ")[0][:120]
        media = [{}, {"image": f"{i:04d}.jpg"}, {"audio": sound}][i % 3]
        rows["talk"].append(conversation(text, media))
        rows["pictures"].append({"text": short, "image": f"{i:04d}.jpg"})
        rows["sounds"].append({"text": asked["text"], "audio": sound})
    paths = {name: folder / f"{name}.jsonl" for name in rows}
    for name, path in paths.items():
        path.write_text("".join(json.dumps(row) + "\n" for row in rows[name]))
    return paths


def conversation(text: str, media: dict[str, str]) -> dict[str, Any]:
    parts: list[dict[str, str]] = [{"type": kind, kind: path} for kind, path in media.items()]
    asked = [*parts, {"type": "text", "text": "Say it."}]
    return {
        "messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": text}]
    }


def _questions() -> list[dict[str, str]]:
    lines = (ROOT / "examples/questions/questions.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]
