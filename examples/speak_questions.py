"""Speak the questions of questions/questions.jsonl into Ogg Opus files, with the default voice.

The recordings in the repository were made with this script, once, before any was listened to.

    python examples/speak_questions.py FOLDER [--only ID]
"""

import argparse
import json
from pathlib import Path

import av
import numpy as np

from unisono.hub import fetch_part
from unisono.media import SAMPLE_RATE_HZ, resample
from unisono.speech import PiperVoice

QUESTIONS = Path(__file__).parent / "questions" / "questions.jsonl"
PAUSE_S = 0.25  # before and after, as a person's recording has it


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", metavar="ID")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    model = fetch_part("piper-en-us-joe-medium") / "en_US-joe-medium.onnx"
    voice = PiperVoice(model, seed=2026)
    for line in QUESTIONS.read_text().splitlines():
        question = json.loads(line)
        if arguments.only in (None, question["id"]):
            pcm = np.concatenate(list(voice.speak(question["text"])))
            sound = resample(pcm, voice.sample_rate_hz, SAMPLE_RATE_HZ)
            write_opus(arguments.folder / f"{question['id']}.ogg", sound)


def write_opus(path: Path, sound: np.ndarray) -> None:
    """Write float32 mono [T] at 16 kHz as Ogg Opus, 24 kbit/s."""
    pause = np.zeros(round(PAUSE_S * SAMPLE_RATE_HZ), np.float32)
    samples = np.concatenate([pause, sound, pause])
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libopus", rate=SAMPLE_RATE_HZ, layout="mono")
        stream.bit_rate = 24_000
        frame = av.AudioFrame.from_ndarray(samples[None], format="flt", layout="mono")
        frame.sample_rate = SAMPLE_RATE_HZ
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


if __name__ == "__main__":
    main()
