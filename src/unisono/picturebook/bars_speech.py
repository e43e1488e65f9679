"""The bars of ola-nano's own ear: words through the connector, and spoken as good as typed.

Shapes: T frames (connector outputs), D width of the language model, K tokens that may be said.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from unisono.conversation import AudioPart, Message
from unisono.errors import CheckpointError
from unisono.evaluation import Score
from unisono.evaluation.metrics.words import word_error_rate
from unisono.evaluation.tasks import Perplexity, Transcription
from unisono.evaluation.tasks.perplexity import OlaModel
from unisono.manifests import ConversationRow, PairRow
from unisono.media import SAMPLE_RATE_HZ, load_audio
from unisono.models.ola.prompt import AudioSpan
from unisono.picturebook.bars_ola import answer_nll, conversation_rows
from unisono.picturebook.bars_onepeace import pair_rows
from unisono.picturebook.bars_report import Bar, Finding
from unisono.runtime import Assistant
from unisono.training.goals import ConnectorCtc
from unisono.training.objectives.connector_ctc import CtcAlignment

NEW_VOICE = "speech/test_new_voice.jsonl"
HUMAN = "speech/test_human.jsonl"
SPOKEN = "spoken_questions/test.jsonl"
SPLITS = {NEW_VOICE: ("new voice", Bar(0.12, False)), HUMAN: ("human prompts", Bar(0.20, False))}
AS_TYPED = Bar(0.15, at_least=False)

PROMPT = "What is said?"
ALIGNMENT = "alignment.safetensors"
"""In the folder of a stage: `tokens` [K], `blank.weight` [1, D], `blank.bias` [1], `log_scale`."""

_LONGEST_ANSWER = 16


@dataclass(frozen=True)
class Aligned:
    """The connector at the end of CTC pre-alignment, with what was learned beside it."""

    alignment: CtcAlignment
    model: OlaModel


def load_aligned(stage: Path) -> Aligned:
    """Read the end of a stage of connector pre-alignment.

    Args:
        stage: folder with `model/` and `ALIGNMENT`.

    Raises:
        CheckpointError: the alignment cannot be read, or fits no such model.
        UnknownModelError, ModelConfigError: there is no model.
    """
    model = Perplexity().load(str(stage / "model"))
    try:
        state = load_file(stage / ALIGNMENT)
        alignment = CtcAlignment(model.model, state.pop("tokens").tolist())
        alignment.load_state_dict(state, strict=False)
    except (OSError, SafetensorError, KeyError, RuntimeError) as error:
        raise CheckpointError(f"'{stage / ALIGNMENT}' cannot be read: {error}") from error
    if missing := sorted({"blank.weight", "blank.bias", "log_scale"} - set(state)):
        raise CheckpointError(f"'{stage / ALIGNMENT}' has no {missing[0]}")
    return Aligned(alignment.eval(), model)


def by_ctc(data: Path, aligned: Aligned) -> list[Finding]:
    """What the connector says by itself: the best path of CTC, no language model."""
    findings = []
    for split, (who, bar) in SPLITS.items():
        rows = pair_rows(data / split)
        heard = [transcript(aligned, row) for row in rows]
        score = word_error_rate([row.text or "" for row in rows], heard, names=_names(rows))
        findings.append(
            Finding("speech", f"connector alone (CTC, greedy), {who}: WER", split, score, bar)
        )
    return findings


@torch.inference_mode()
def transcript(aligned: Aligned, row: PairRow) -> str:
    """The words of a sound.

    Raises:
        MediaError: the sound cannot be opened.
    """
    processor = aligned.model.processor
    sound: Any = row.audio
    samples = load_audio(sound)
    opened = processor.opener().open(AudioPart(audio=samples))
    spans = [span for span in opened.spans if isinstance(span, AudioSpan)]
    media: dict[str, Any] = {**processor.media_tensors(spans)}
    (frames,) = aligned.alignment.frames(**media)
    # As in training: what is later than the utterance and a second says nothing.
    config = processor.config
    heard_s = len(samples) / SAMPLE_RATE_HZ + ConnectorCtc().window_s
    count = math.ceil(heard_s / config.audio_chunk_s * (config.audio_tokens_per_chunk - 1))
    ids = aligned.alignment.transcribed(frames[:count])
    return str(processor.tokenizer.decode(list(ids), skip_special_tokens=True)).strip()


def by_answers(data: Path, model: Assistant) -> list[Finding]:
    """What the model answers to "What is said?", without a listener."""
    findings = []
    for split, (who, bar) in SPLITS.items():
        rows = pair_rows(data / split)
        what = f'connector and language model ("{PROMPT}"), {who}: WER'
        findings.append(Finding("speech", what, split, _heard(model, rows), bar))
    return findings


def _heard(model: Assistant, rows: Sequence[PairRow]) -> Score:
    task = Transcription(by="assistant", prompt=PROMPT)
    return task.score(task.predict(model, rows))["wer"]


def spoken_as_typed(data: Path, model: Assistant, in_torch: OlaModel) -> list[Finding]:
    """How much less likely an answer is where its question is spoken and not typed.

    Only where the model wrote down every word of the question. The answers are its own to the
    typed question; then the right ones.

    Args:
        data: folder of all steps.
        model: without a listener.
        in_torch: the same model.
    """
    rows = heard_right(conversation_rows(data / SPOKEN), model)
    what = "spoken as typed: NLL per token of the typed answer, difference"
    if not rows:
        note = "No question of the split was heard right."
        return [Finding("speech", what, SPOKEN, None, AS_TYPED, note=note)]
    typed = [_typed_answer(model, row) for row in rows]
    chosen = [place for place, answer in enumerate(typed) if answer]
    own = difference([rows[i] for i in chosen], [typed[i] for i in chosen], in_torch)
    right = difference(rows, [_answer(row) for row in rows], in_torch)
    note = "On the questions whose words the model wrote down without a fault."
    return [
        Finding("speech", what, SPOKEN, own, AS_TYPED, note=note),
        Finding("speech", "– of the right answer", SPOKEN, right),
    ]


def heard_right(rows: Sequence[ConversationRow], model: Assistant) -> list[ConversationRow]:
    """The rows of whose spoken question no word is lost."""
    pairs = [
        PairRow(row.name, text=_sound(row).transcript, audio=_sound(row).audio) for row in rows
    ]
    score = _heard(model, pairs)
    wrong = dict(zip(score.names, score.amounts, strict=True))
    return [row for row in rows if wrong.get(row.name, 1) == 0]


def difference(rows: Sequence[ConversationRow], answers: Sequence[str], model: OlaModel) -> Score:
    """NLL per token of answers to the spoken questions, less that to the typed ones.

    Args:
        rows: spoken questions, with the field "typed".
        answers: to score, in the rows' order.
        model: whose NLL it is.
    """
    said = [
        ConversationRow(row.name, (row.messages[0], Message(role="assistant", content=answer)))
        for row, answer in zip(rows, answers, strict=True)
    ]
    typed = [
        ConversationRow(
            row.name, (Message(role="user", content=str(row.fields["typed"])), one.messages[1])
        )
        for row, one in zip(rows, said, strict=True)
    ]
    spoken_nll, typed_nll = answer_nll(said, model), answer_nll(typed, model)
    return Score.of(
        spoken_nll[:, 0] - typed_nll[:, 0],
        weights=typed_nll[:, 1],
        names=[row.name for row in rows],
        higher_is_better=False,
        percent=False,
    )


def _typed_answer(model: Assistant, row: ConversationRow) -> str:
    reply = model.chat(str(row.fields["typed"]), max_new_tokens=_LONGEST_ANSWER, temperature=0.0)
    return reply.text.strip()


def _answer(row: ConversationRow) -> str:
    return "".join(getattr(part, "text", "") for part in row.messages[-1].parts)


def _sound(row: ConversationRow) -> AudioPart:
    (part,) = (part for part in row.messages[0].parts if isinstance(part, AudioPart))
    return part


def _names(rows: Sequence[PairRow]) -> list[str]:
    return [row.name for row in rows]
