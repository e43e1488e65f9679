"""The verbs do what the README says, on the real default model."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from unisono.cli import app
from unisono.media import load_audio

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(*arguments: str, stdin: str | None = None) -> str:
    result = CliRunner().invoke(app, list(arguments), input=stdin)
    assert result.exit_code == 0, (result.output, result.exception)
    return result.stdout


def test_ask_by_text() -> None:
    assert "Paris" in run("ask", "What is the capital of France?")


def test_ask_from_a_pipe() -> None:
    assert "Paris" in run("ask", "-", stdin="What is the capital of France?\n")


def test_ask_by_voice_answers_in_text_and_speech(tmp_path: Path) -> None:
    question, wav = EXAMPLES / "questions" / "11-japan.ogg", tmp_path / "answer.wav"
    answer = json.loads(run("ask", "--audio", str(question), "--speak", str(wav), "--json"))
    assert "Tokyo" in answer["text"]
    assert answer["heard"] == ["What is the capital city of Japan?"]
    timings = answer["timings"]
    assert 0 < timings["first_text_s"] < timings["first_speech_s"] <= timings["total_s"]
    assert len(load_audio(wav)) > 16_000
    assert list(tmp_path.iterdir()) == [wav]


def test_ask_about_a_sound_quotes_its_words() -> None:
    question = EXAMPLES / "questions" / "11-japan.ogg"
    answer = json.loads(
        run("ask", "Which country is named here?", "--audio", str(question), "--json")
    )
    assert answer["heard"] == ["What is the capital city of Japan?"]
    assert "Japan" in answer["text"]


@pytest.mark.slow
def test_same_seed_same_answer() -> None:
    arguments = ("ask", "Tell me a story.", "--temperature", "0.8", "--max-tokens", "20")
    assert run(*arguments, "--seed", "7") == run(*arguments, "--seed", "7")
    assert run(*arguments, "--seed", "7") != run(*arguments, "--seed", "8")


def test_chat_takes_turns_and_survives_a_fault(tmp_path: Path) -> None:
    lines = "What is the capital of France?\n/audio no.wav\nWhat is the opposite of hot?\n/quit\n"
    result = CliRunner().invoke(app, ["chat"], input=lines)
    assert result.exit_code == 0
    assert "Paris" in result.stdout
    assert "cold" in result.stdout
    assert "no.wav" in result.stderr


def test_chat_by_sound_file() -> None:
    question = EXAMPLES / "questions" / "10-france.ogg"
    output = run("chat", stdin=f"/audio {question}\n")
    assert "Paris" in output
    assert "(heard: What is the capital of France?)" in output


def test_models_lists_the_default() -> None:
    rows = json.loads(run("models", "--json"))
    assert rows[0]["name"] == "ola-nano"


@pytest.mark.parametrize("verb", ["ask", "chat", "pull", "models"])
def test_every_verb_has_help(verb: str) -> None:
    assert "Usage" in run(verb, "--help")
