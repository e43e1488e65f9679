"""`unisono ask`: one question, one answer."""

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from unisono.cli.options import (
    EngineOption,
    HearingOption,
    LanguageOption,
    MaxTokensOption,
    ModelOption,
    PlayOption,
    QuantizationOption,
    SeedOption,
    SpeakOption,
    SystemOption,
    TemperatureOption,
    VoiceOption,
    generation_settings,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from unisono.cli.sinks import SpeechSink
    from unisono.runtime import Event, Finished


def ask(
    text: Annotated[str | None, typer.Argument(help="The question; - reads it from stdin.")] = None,
    image: Annotated[list[str] | None, typer.Option(help="A picture.")] = None,
    audio: Annotated[list[str] | None, typer.Option(help="Sound: asks, or is asked about.")] = None,
    video: Annotated[list[str] | None, typer.Option(help="A video.")] = None,
    speak: SpeakOption = None,
    play: PlayOption = False,
    model: ModelOption = "ola-nano",
    engine: EngineOption = "auto",
    quantization: QuantizationOption = None,
    voice: VoiceOption = None,
    language: LanguageOption = None,
    hearing: HearingOption = None,
    system: SystemOption = None,
    max_tokens: MaxTokensOption = None,
    temperature: TemperatureOption = None,
    seed: SeedOption = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one object with text and timings.")
    ] = False,
) -> None:
    """Ask once: by text, by voice, about media. The answer streams as it is written."""
    import unisono
    from unisono.cli.sinks import SpeechSink
    from unisono.media import load_audio, load_image

    question = sys.stdin.read().strip() if text == "-" else text
    # Opened before the model is loaded: a wrong file is said at once, not after seconds.
    pictures = [load_image(path) for path in image or ()]
    sounds = [load_audio(path) for path in audio or ()]
    from unisono.runtime.reply import user_message

    message = user_message(question, image=pictures, audio=sounds, video=video)
    settings = generation_settings(max_tokens, temperature, seed)
    with SpeechSink(speak, play=play) as sink:
        assistant = unisono.load_assistant(
            model,
            engine=cast(Any, engine),
            quantization=cast(Any, quantization),
            voice=voice,
            language=language,
            hearing=cast(Any, hearing),
        )
        assistant.warm_up(listening=bool(audio) and assistant.needs_listener, speech=bool(sink))
        session = assistant.session(system=system)
        events = session.stream([message], speech=bool(sink), **settings)
        # Sound on stdout leaves stderr for the text.
        out = sys.stderr if str(speak) == "-" else sys.stdout
        finished = follow(events, sink, show=None if as_json else out)
    if as_json:
        print(json.dumps(_summary(finished)), file=out)


def follow(events: "Iterable[Event]", sink: "SpeechSink", *, show: Any) -> "Finished":
    """Read a stream to its end: text to `show` as it comes, speech to the sink."""
    from unisono.runtime import Finished, SpeechChunk

    for event in events:
        if isinstance(event, SpeechChunk):
            sink.write(event)
        elif isinstance(event, Finished):
            if show is not None:
                print(file=show, flush=True)
            for notice in event.notices:
                print(f"Note: {notice}", file=sys.stderr)
            return event
        elif show is not None:
            print(event.text, end="", file=show, flush=True)
    raise RuntimeError("the stream ended without a Finished event")


def _summary(finished: "Finished") -> dict[str, Any]:
    return {
        "text": finished.text,
        "reason": finished.reason,
        "heard": list(finished.heard),
        "notices": list(finished.notices),
        "usage": asdict(finished.usage),
        "timings": asdict(finished.timings),
    }
