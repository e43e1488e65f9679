"""The command line: one thin file a verb, and how every error ends: one line, exit code 2."""

import functools
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import typer

from unisono import calm_openmp
from unisono.cli.ask import ask
from unisono.cli.chat import chat
from unisono.cli.classify import classify
from unisono.cli.convert import convert
from unisono.cli.curate import curate
from unisono.cli.embed import embed
from unisono.cli.evaluate import evaluate
from unisono.cli.index import index
from unisono.cli.models import models
from unisono.cli.picturebook import picturebook
from unisono.cli.predict import predict
from unisono.cli.pull import pull
from unisono.cli.search import search, similar
from unisono.cli.serve import serve
from unisono.cli.train import train
from unisono.errors import UnisonoError

BAD_INPUT = 2
INTERRUPTED = 130


def main() -> None:
    """Run the command of `sys.argv`."""
    calm_openmp()  # before any verb imports torch
    app()


def _one_line_errors(verb: Callable[..., None]) -> Callable[..., None]:
    """Never show a traceback for what a user did."""

    @functools.wraps(verb)
    def run(*args: Any, **kwargs: Any) -> None:
        try:
            with _noting_ctrl_c() as pressed:
                verb(*args, **kwargs)
        except UnisonoError as error:
            print(f"unisono: {error}", file=sys.stderr)
            raise typer.Exit(BAD_INPUT) from None
        except BrokenPipeError:
            # Our reader is gone; python would complain again when it flushes stdout.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except BaseException as error:
            # Heard inside a compiled library, Ctrl-C comes out as an error of that library.
            if not isinstance(error, KeyboardInterrupt) and not pressed.is_set():
                raise
            print("\nunisono: stopped", file=sys.stderr)
            raise typer.Exit(INTERRUPTED) from None

    return run


@contextmanager
def _noting_ctrl_c() -> Iterator[threading.Event]:
    """Set the event when Ctrl-C is pressed, and then do what is done anyway."""
    pressed = threading.Event()
    usual = signal.getsignal(signal.SIGINT)

    def note(number: int, frame: FrameType | None) -> None:
        pressed.set()
        if callable(usual):
            usual(number, frame)

    if threading.current_thread() is not threading.main_thread() or not callable(usual):
        yield pressed  # only the main thread is interrupted, or nothing is
        return
    signal.signal(signal.SIGINT, note)
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, usual)


app = typer.Typer(
    name="unisono",
    help="Models that read, see, hear and speak.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
_VERBS = (
    ask,
    chat,
    embed,
    index,
    search,
    similar,
    classify,
    predict,
    train,
    serve,
    picturebook,
    curate,
    pull,
    models,
    convert,
)
for _verb in _VERBS:
    app.command()(_one_line_errors(_verb))
app.command("eval")(_one_line_errors(evaluate))
