"""Listen to a spoken answer and compare it with its text: the word error rate.

    python examples/check_speech.py answer.wav answer.json [--at-most 10]

`answer.json` is what `unisono ask --json` printed. A recogniser of its own is loaded, and
hears nothing but the file. Exit code 1 if more than that percentage of words is wrong.
"""

import argparse
import json
import sys
from pathlib import Path

import jiwer
from whisper_normalizer.english import EnglishTextNormalizer

from unisono.hub import fetch_part
from unisono.media import load_audio
from unisono.speech import WhisperListener


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("wav", type=Path)
    parser.add_argument("answer", type=Path)
    parser.add_argument("--at-most", type=float, default=10.0, metavar="PERCENT")
    arguments = parser.parse_args()
    written = json.loads(arguments.answer.read_text())["text"]
    listener = WhisperListener(fetch_part("whisper-base-ct2"))
    heard = listener.listen(load_audio(arguments.wav)).text
    normalise = EnglishTextNormalizer()
    percent = 100 * jiwer.wer(normalise(written), normalise(heard))
    print(f"written: {written}\nheard:   {heard}\nword error rate: {percent:.1f} %")
    return int(percent > arguments.at_most)


if __name__ == "__main__":
    sys.exit(main())
