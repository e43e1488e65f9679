"""One conversation over pictures, a sound, a spoken question and a narrated clip.

    python examples/conversation.py [--out out] [--questions examples/picturebook/demo.jsonl]

Every answer is written and spoken: a WAV file a turn. The files were drawn from the tests before
the model was trained; what is right is known, and said.
"""

import argparse
import sys
from pathlib import Path

import unisono
from unisono.conversation import Message, TextPart
from unisono.evaluation.metrics.matching import exact_match
from unisono.manifests import open_manifest
from unisono.runtime.reply import collect

HERE = Path(__file__).parent
LONGEST = 24


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--questions", type=Path, default=HERE / "picturebook" / "demo.jsonl")
    parser.add_argument("--out", type=Path, default=Path("out"))
    parser.add_argument("--at-least", type=int, default=0, help="right answers, or exit code 1")
    parser.add_argument("--model", default="ola-nano")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    session = unisono.load_assistant(arguments.model).session()
    rows = list(open_manifest(arguments.questions))
    right = 0
    for turn, row in enumerate(rows, 1):
        question, answer = row.messages
        events = session.stream([question], speech=True, temperature=0.0, max_new_tokens=LONGEST)
        reply = collect(events)
        wanted = [answer.content, *row.fields.get("answers", ())]
        is_right = bool(exact_match([wanted], [reply.text]).amounts.sum())
        right += is_right
        show(question, reply, "right" if is_right else f"wrong: {answer.content}")
        reply.speech.save(arguments.out / f"{turn}.wav")
    print(f"{right} of {len(rows)} right; the spoken answers are in {arguments.out}/")
    return int(right < arguments.at_least)


def show(question: Message, reply: unisono.Reply, verdict: str) -> None:
    asked = [part.text for part in question.parts if isinstance(part, TextPart)]
    media = [part for part in question.parts if not isinstance(part, TextPart)]
    names = [Path(str(getattr(part, part.type))).name for part in media]
    print(f"> [{', '.join(names)}] {' '.join(asked)}")
    for words in reply.heard:
        if words:
            print(f"  (heard: {words})")
    print(f"  {reply.text}   ({verdict})")


if __name__ == "__main__":
    sys.exit(main())
