"""The audio stem learns the spectrum, and only it."""

from typing import Any

import numpy as np
import pytest
import tiny
import tiny_onepeace
import torch

from unisono.conversation import Message
from unisono.errors import BadRowError, RecipeError, UnsupportedModalityError
from unisono.manifests.row import ConversationRow, PairRow
from unisono.models.onepeace import OnePeaceForPretraining
from unisono.training import goals
from unisono.training.objectives.audio_spectrum import AudioSpectrum, LogMel
from unisono.training.parts import part_of, set_trainable

RATE = 16_000
BANDS = 8


def tones(count: int = 8) -> list[PairRow]:
    """Chords that come and go."""
    draws, times = np.random.default_rng(0), np.arange(2 * RATE) / RATE
    rows = []
    for number in range(count):
        parts = [
            np.sin(2 * np.pi * draws.uniform(100, 6000) * times + draws.uniform(0, 6))
            * (np.sin(2 * np.pi * draws.uniform(0.5, 4) * times) > 0)
            for _ in range(3)
        ]
        noise = draws.normal(size=len(times)) * 0.02
        chord = (0.3 * sum(parts) + noise).clip(-1, 1).astype(np.float32)
        rows.append(PairRow(f"t:{number}", audio=(chord, RATE)))
    return rows


def setting() -> tuple[OnePeaceForPretraining, AudioSpectrum]:
    config = tiny.onepeace()[0].config
    torch.manual_seed(0)
    model = tiny_onepeace.randomised(OnePeaceForPretraining(config))
    work = AudioSpectrum(tiny.onepeace()[1], goals.AudioSpectrum(bands=BANDS))
    return model, work


@pytest.mark.parametrize(
    "layers",
    [
        [(512, 10, 5), *[(512, 3, 2)] * 4, *[(512, 2, 2)] * 2],
        [(32, 10, 5), (48, 8, 4), *[(96, 3, 2)] * 2, *[(96, 2, 2)] * 2],
    ],
)
def test_the_target_has_the_frames_of_the_stem(layers: list[tuple[int, int, int]]) -> None:
    target = LogMel(layers, 64)
    for samples in (*range(16_000, 16_400, 37), 240_000):
        frames = samples
        for _, kernel, stride in layers:
            frames = (frames - kernel) // stride + 1
        assert target(torch.zeros(1, samples)).shape == (1, frames, 64)


def test_a_tone_is_where_it_sounds_and_when() -> None:
    target = LogMel([(8, 10, 5), *[(8, 3, 2)] * 4, *[(8, 2, 2)] * 2], 64)
    times = torch.arange(2 * RATE) / RATE
    heard = [
        target(torch.sin(2 * torch.pi * hertz * times)[None])[0].mean(0).argmax().item()
        for hertz in (200, 1000, 4000)
    ]
    # The middle of band i is the mel scale's (i + 1) / 65 between 50 and 7,800 Hz.
    assert heard == sorted(heard)
    assert heard[1] == pytest.approx(21, abs=1)
    late = torch.where(times < 1, torch.zeros(()), torch.sin(2 * torch.pi * 1000 * times))
    spectrum = target(late[None])[0, :, heard[1]]
    assert spectrum[:47].max() < spectrum[52:].min() - 1


def test_the_stem_learns_it_and_nothing_else_moves() -> None:
    model, work = setting()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    inputs, weight = work.collate([work.prepare(row) for row in tones()])
    assert weight == 8
    assert inputs["audio_values"].shape == (8, RATE)
    learner = work.wrap(model).train()
    set_trainable(learner, ["audio"])
    assert {part_of(name) for name, _ in learner.named_parameters()} == {"audio"}
    optimizer = torch.optim.Adam(learner.parameters(), lr=1e-2)
    unexplained = []
    for step in range(40):
        computed = work.loss(learner, inputs, draw=step)
        optimizer.zero_grad()
        (computed.loss / weight).backward()
        optimizer.step()
        unexplained.append(computed.terms["unexplained"].item() / weight)
    assert unexplained[0] > 0.9
    assert unexplained[-1] < 0.7
    moved = {n for n, p in learner.model.named_parameters() if not torch.equal(p, before[n])}
    stem = {name for name in before if ".audio.stem." in name}
    assert moved == stem


def test_the_piece_is_the_same_every_time_and_of_a_short_clip_all() -> None:
    _, work = setting()
    long, short = tones(1)[0], PairRow("s", audio=(np.ones(RATE, np.float32), RATE))
    one, again = work.prepare(long).samples, work.prepare(long).samples
    assert one is not None
    assert again is not None
    assert torch.equal(one, again)
    assert work.length(work.prepare(short)) == work.length(work.prepare(long))


def test_what_does_not_fit_is_said() -> None:
    model, work = setting()
    with pytest.raises(BadRowError, match="needs a sound"):
        work.prepare(PairRow("r:1", text="a dog"))
    with pytest.raises(BadRowError, match="needs a sound"):
        work.prepare(ConversationRow("r:2", (Message(role="user", content="hi"),)))
    with pytest.raises(RecipeError, match="more than the model's width"):
        AudioSpectrum(work.processor, goals.AudioSpectrum(bands=4096)).wrap(model)
    with pytest.raises(RecipeError, match="windows of at most 512 samples"):
        LogMel([(8, 20, 10), (8, 80, 40)], 8)


def test_a_modality_begins_as_another() -> None:
    model, _ = setting()
    states: dict[str, Any] = dict(model.onepeace.named_parameters())
    pairs = {n: n.replace(".audio.", ".image.") for n in states if n.startswith("encoder.")}
    pairs = {name: other for name, other in pairs.items() if name != other}
    assert any(not torch.equal(states[name], states[other]) for name, other in pairs.items())
    kept = {n: p.detach().clone() for n, p in states.items() if n not in pairs}
    model.onepeace.begin_as("audio", "image")
    assert all(torch.equal(states[name], states[other]) for name, other in pairs.items())
    assert all(torch.equal(states[name], value) for name, value in kept.items())
    with pytest.raises(UnsupportedModalityError, match="smell"):
        model.onepeace.begin_as("smell", "image")
