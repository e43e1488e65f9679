"""`unisono chat`: a conversation in the terminal, typed or spoken."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from unisono.cli.ask import follow
from unisono.cli.options import (
    EngineOption,
    HearingOption,
    LanguageOption,
    MaxTokensOption,
    ModelOption,
    PlayOption,
    QuantizationOption,
    SeedOption,
    SystemOption,
    TemperatureOption,
    VoiceOption,
    generation_settings,
)

if TYPE_CHECKING:
    from unisono.conversation import Message
    from unisono.runtime import Session

HELP = """Type a message and press Enter. Ctrl-C stops an answer; Ctrl-D or /quit ends the chat.
  /audio FILE   ask with a sound file         /new    begin a new conversation
  /image FILE   add a picture to the next     /help   show this
  /video FILE   add a clip to the next        /sound FILE   add a sound to the next
"""
_KEPT = {"/image": "image", "/video": "video", "/sound": "audio"}
"""Command -> kind of medium that waits for the next words."""

SPEAK_HINT = "  (an empty line)   speak: recording starts, Enter ends it\n"


def chat(
    model: ModelOption = "ola-nano",
    play: PlayOption = False,
    engine: EngineOption = "auto",
    quantization: QuantizationOption = None,
    voice: VoiceOption = None,
    language: LanguageOption = None,
    hearing: HearingOption = None,
    system: SystemOption = None,
    max_tokens: MaxTokensOption = None,
    temperature: TemperatureOption = None,
    seed: SeedOption = None,
) -> None:
    """Talk in turns. With a microphone, an empty line starts a spoken message."""
    import unisono
    from unisono.cli.sinks import SpeechSink
    from unisono.speech import Microphone

    SpeechSink(None, play=play)  # no loudspeakers: say so at once
    assistant = unisono.load_assistant(
        model,
        engine=cast(Any, engine),
        quantization=cast(Any, quantization),
        voice=voice,
        language=language,
        hearing=cast(Any, hearing),
    )
    has_microphone = Microphone.available()
    assistant.warm_up(listening=has_microphone, speech=play)
    settings = generation_settings(max_tokens, temperature, seed)
    terminal = sys.stdin.isatty()
    if terminal:
        print(HELP + (SPEAK_HINT if has_microphone else ""))
    session = assistant.session(system=system)
    turn = _Turn(has_microphone)
    while (line := _read_line(terminal)) is not None:
        if line == "/quit":
            return
        if line == "/new":
            session = assistant.session(system=system)
            continue
        _guarded(turn, line, session, play=play, settings=settings)


def _guarded(
    turn: "_Turn", line: str, session: "Session", *, play: bool, settings: dict[str, Any]
) -> None:
    """Take one turn; a fault or Ctrl-C ends the turn, not the chat."""
    from unisono.errors import UnisonoError

    try:
        message = turn.message(line)
        if message is not None:
            _answer(session, message, play=play, settings=settings)
    except UnisonoError as error:
        print(f"unisono: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        print("\n(stopped)")


class _Turn:
    """From the lines a user types to a message; keeps media until words follow."""

    def __init__(self, has_microphone: bool) -> None:
        self._has_microphone = has_microphone
        self._kept: dict[str, list[str]] = {}

    def message(self, line: str) -> "Message | None":
        """The message this line completes; None when it only prepares one."""
        from unisono.runtime.reply import user_message
        from unisono.speech import Microphone

        command, _, argument = line.partition(" ")
        text: str | None = None
        if command in _KEPT and argument:
            self._keep(_KEPT[command], argument)
            return None
        if command == "/audio" and argument:
            self._keep("audio", argument)
        elif not line and self._has_microphone:
            spoken: Any = Microphone().record(until=lambda: input("(listening; Enter ends) "))
            self._kept.setdefault("audio", []).append(spoken)
        elif not line or line.startswith("/"):
            print(HELP)
            return None
        else:
            text = line
        kept, self._kept = self._kept, {}
        return user_message(text, **kept)

    def _keep(self, kind: str, path: str) -> None:
        self._kept.setdefault(kind, []).append(str(Path(path).expanduser()))


def _answer(
    session: "Session", message: "Message", *, play: bool, settings: dict[str, Any]
) -> None:
    from unisono.cli.sinks import SpeechSink

    events = session.stream([message], speech=play, **settings)
    try:
        with SpeechSink(None, play=play) as sink:
            finished = follow(events, sink, show=sys.stdout)
    finally:
        events.close()
    for words in finished.heard:
        print(f"(heard: {words})")


def _read_line(terminal: bool) -> str | None:
    """The next line, stripped; None at the end of the input or at Ctrl-C on an empty prompt."""
    try:
        return input("> " if terminal else "").strip()
    except (EOFError, KeyboardInterrupt):
        if terminal:
            print()
        return None
