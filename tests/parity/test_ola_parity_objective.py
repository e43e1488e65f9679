"""The golden losses and gradients of training through the objective: chunked, packed or padded."""

import pytest
import test_ola_parity_training as training
import torch
from golden import Golden, GoldenFile
from official_ola import Ola
from test_ola_parity_training import io, training_ola

from unisono.manifests.row import ConversationRow
from unisono.training import goals
from unisono.training.objectives.next_token import NextToken
from unisono.training.packing import LabelledPrompt

__all__ = ["io", "training_ola"]


@pytest.mark.parametrize("pack", [False, True])
@pytest.mark.parametrize("name", [*training.MEDIA, "batch4"])
def test_loss_and_gradients_through_the_objective(
    training_ola: Ola, io: GoldenFile, golden: Golden, name: str, pack: bool
) -> None:
    samples = list(training.MEDIA) if name == "batch4" else [name]
    settings = goals.NextToken(supervision="answers and controls", pack=pack)
    objective = NextToken(training_ola.processor, settings, loss_chunk=16)
    examples = [LabelledPrompt(*training.example(training_ola, io, one)) for one in samples]
    inputs, weight = objective.collate(examples)
    loss = objective.loss(training_ola.model, inputs, draw=0).loss / weight
    loss.backward()
    io.check(f"train.{name}.loss", loss[None], "loss")
    found = training.gradients(training_ola)
    prefix = f"train.{name}.grad."
    for key in (n.removeprefix(prefix) for n in io.names if n.startswith(prefix)):
        nothing = torch.zeros_like(io.read(prefix + key))
        io.check_gradient(prefix + key, found.get(key, nothing))
    training.check_norms(found, golden.facts("ola_tiny")["train"][name]["grad_norms"])


def test_prepared_rows_are_the_official_samples(training_ola: Ola, io: GoldenFile) -> None:
    """From a manifest's row, not from a prompt put together by a test."""
    official = io.read("train.text.input_ids")[0].tolist()
    said = training.conversation(training_ola, official, ())
    settings = goals.NextToken(supervision="answers and controls")
    example = NextToken(training_ola.processor, settings).prepare(
        ConversationRow("text.jsonl:1", tuple(said))
    )
    assert list(example.prompt.ids) == official
    io.check("train.text.labels", torch.tensor([example.labels]), "exact")
