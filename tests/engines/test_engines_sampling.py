"""The sampler picks from the distribution that transformers' own processors make."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    LogitsProcessorList,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from unisono.engines import GenerationSettings, Sampler
from unisono.engines.sampling import filtered_probabilities, penalise
from unisono.errors import ConversationError, UnisonoError

VOCABULARY = 60
sampled = st.builds(
    GenerationSettings,
    temperature=st.floats(0.2, 3.0),
    top_k=st.integers(0, VOCABULARY + 5),
    top_p=st.floats(0.05, 1.0),
    min_p=st.floats(0.0, 0.9),
)


def _logits(seed: int) -> torch.Tensor:
    return torch.randn(VOCABULARY, generator=torch.Generator().manual_seed(seed)) * 4


def _reference(logits: torch.Tensor, settings: GenerationSettings) -> torch.Tensor:
    warpers = LogitsProcessorList([TemperatureLogitsWarper(settings.temperature)])
    if settings.top_k:
        warpers.append(TopKLogitsWarper(settings.top_k))
    if settings.top_p < 1:
        warpers.append(TopPLogitsWarper(settings.top_p))
    if settings.min_p:
        warpers.append(MinPLogitsWarper(settings.min_p))
    return torch.softmax(warpers(torch.zeros(1, 0, dtype=torch.long), logits[None])[0], dim=-1)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 10_000), sampled)
def test_probabilities_are_those_of_transformers(seed: int, chosen: GenerationSettings) -> None:
    found = filtered_probabilities(_logits(seed), chosen)
    torch.testing.assert_close(found, _reference(_logits(seed), chosen), atol=1e-5, rtol=1e-4)
    assert found.sum() == pytest.approx(1, abs=1e-5)


@settings(max_examples=50, deadline=None)
@given(
    st.integers(0, 10_000),
    st.lists(st.integers(0, VOCABULARY - 1), min_size=1, max_size=20),
    st.floats(0.5, 2.0),
)
def test_the_repetition_penalty_is_that_of_transformers(
    seed: int, seen: list[int], penalty: float
) -> None:
    reference = RepetitionPenaltyLogitsProcessor(penalty)
    expected = reference(torch.tensor([seen]), _logits(seed)[None].clone())[0]
    torch.testing.assert_close(penalise(_logits(seed), seen, penalty), expected)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), sampled, st.integers(0, 2**63))
def test_only_likely_tokens_are_picked_and_a_seed_picks_the_same(
    seed: int, chosen: GenerationSettings, sampler_seed: int
) -> None:
    chosen = GenerationSettings(**{**vars(chosen), "seed": sampler_seed})
    first, second = Sampler(chosen), Sampler(chosen)
    picked = [first.pick(_logits(seed)) for _ in range(5)]
    assert picked == [second.pick(_logits(seed)) for _ in range(5)] == first.picked
    allowed = _reference(_logits(seed), chosen)
    assert all(allowed[token] > 0 for token in picked)


def test_without_a_seed_answers_vary() -> None:
    chosen = GenerationSettings(temperature=5.0)
    runs = {tuple(_run(Sampler(chosen), 12)) for _ in range(4)}
    assert len(runs) > 1


def _run(sampler: Sampler, count: int) -> list[int]:
    return [sampler.pick(_logits(0)) for _ in range(count)]


def test_frequencies_follow_the_probabilities() -> None:
    chosen = GenerationSettings(temperature=1.0, top_k=3, seed=1)
    sampler = Sampler(chosen)
    counts = torch.bincount(torch.tensor(_run(sampler, 3000)), minlength=VOCABULARY)
    torch.testing.assert_close(counts / 3000, _reference(_logits(0), chosen), atol=0.04, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_greedy_takes_the_likeliest(dtype: torch.dtype) -> None:
    logits = _logits(3).to(dtype)
    assert Sampler(GenerationSettings()).pick(logits) == int(logits.argmax())
    nearly_greedy = GenerationSettings(temperature=0.01, seed=0)
    assert Sampler(nearly_greedy).pick(logits) == int(logits.argmax())


def test_the_penalty_sees_what_was_picked() -> None:
    logits = torch.tensor([2.0, 1.9, 0.0])
    sampler = Sampler(GenerationSettings(repetition_penalty=1.5))
    assert [sampler.pick(logits) for _ in range(2)] == [0, 1]
    assert logits.tolist() == pytest.approx([2.0, 1.9, 0.0]), "the engine's logits stay"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_new_tokens", 0),
        ("temperature", -0.1),
        ("temperature", float("nan")),
        ("top_k", -1),
        ("top_p", 0.0),
        ("top_p", 1.1),
        ("min_p", -0.1),
        ("min_p", 1.0),
        ("repetition_penalty", 0.0),
        ("seed", 2**64),
        ("stop", ("a", "")),
        ("stop", ""),
    ],
)
def test_impossible_settings_are_refused(field: str, value: object) -> None:
    with pytest.raises(ConversationError, match=f"^{field} must be .*, but is .* instead$"):
        GenerationSettings(**{field: value})  # type: ignore[arg-type]
    assert issubclass(ConversationError, UnisonoError)


def test_stop_texts_in_every_form() -> None:
    assert GenerationSettings(stop="END").stop == ("END",)  # type: ignore[arg-type]
    assert GenerationSettings(stop=["a", "b"]).stop == ("a", "b")  # type: ignore[arg-type]


@pytest.mark.parametrize("temperature", [1e-3, 1e-20, 1e-45, 1e-308])
def test_a_temperature_near_zero_takes_the_likeliest(temperature: float) -> None:
    settings = GenerationSettings(temperature=temperature)
    found = filtered_probabilities(torch.tensor([-50.0, 30.0, 29.0, float("-inf")]), settings)
    assert found.tolist() == [0.0, 1.0, 0.0, 0.0]
