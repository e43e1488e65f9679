"""The library in one screen: ask, stream, hear, and talk in turns.

python examples/quickstart.py
"""

from pathlib import Path

import unisono

QUESTION = Path(__file__).parent / "questions" / "11-japan.ogg"


def main() -> None:
    assistant = unisono.load("ola-nano")

    reply = assistant.chat("What do bees make?")
    print(reply.text)

    # By voice, spoken back; the first sentence is heard while the second is being written.
    for event in assistant.stream(
        [{"role": "user", "content": [{"type": "audio", "audio": QUESTION}]}], speech=True
    ):
        match event:
            case unisono.TextDelta(text):
                print(text, end="", flush=True)
            case unisono.SpeechChunk():
                print(f" [{event.duration_s:.1f} s of sound]", end="", flush=True)
            case unisono.Finished():
                print(f"\n{event.timings}")

    # A session remembers, and reads nothing twice.
    session = assistant.session(system="You are a friendly assistant. Answer in one sentence.")
    session.chat("My favourite animal is the owl.")
    print(session.chat("What is my favourite animal?").text)


if __name__ == "__main__":
    main()
