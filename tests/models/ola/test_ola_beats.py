"""BEATs: its filter bank, positions and attention against naive loops; its behaviour as a model."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import AutoConfig, AutoModel

from unisono.errors import MediaError, ModelConfigError
from unisono.models.ola.beats import BeatsAttention, BeatsConfig, BeatsModel
from unisono.models.ola.beats_fbank import _mel_filters, _povey_window, kaldi_fbank, samples_of
from unisono.models.ola.beats_positions import RelativeBias, distance_buckets

SMALL: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "embedding_size": 12,
    "conv_pos": 8,
    "conv_pos_groups": 4,
    "num_buckets": 16,
    "max_distance": 20,
    "num_classes": 5,
}
SHAPES = [
    {},
    {"layer_norm_first": True, "deep_norm": False},
    {"deep_norm": False},
    {"gated_relative_bias": False},
    {"gated_relative_bias": False, "relative_position_embedding": False},
    {"embedding_size": 16, "patch_bias": True},
    {"conv_pos": 5, "conv_pos_groups": 1},
    {"patch_size": 8, "num_mel_bins": 40, "hidden_act": "relu"},
    {"num_classes": 0},
]


def small(**changes: Any) -> BeatsModel:
    """A random model whose every parameter matters, from the same seed every time."""
    torch.manual_seed(0)
    model = BeatsModel(BeatsConfig(**SMALL | changes)).eval()
    for name, parameter in model.named_parameters():
        is_norm = name.split(".")[-2].endswith(("norm", "norm1", "norm2"))
        torch.nn.init.normal_(parameter, mean=float(is_norm), std=0.3)
    return model


def noise(*shape: int) -> Tensor:
    return 0.1 * torch.randn(*shape, generator=torch.Generator().manual_seed(1))


# --- the filter bank ------------------------------------------------------------------------


def _naive_fbank(samples: np.ndarray, mel_bins: int) -> np.ndarray:
    """One window and one filter after the other, in float64."""
    place = np.arange(400)
    window = (0.5 - 0.5 * np.cos(2 * np.pi * place / 399)) ** 0.85
    mel = 1127 * np.log(1 + np.arange(257) * 31.25 / 700)
    edges = np.linspace(1127 * np.log(1 + 20 / 700), 1127 * np.log(1 + 8000 / 700), mel_bins + 2)
    rows = []
    for start in range(0, len(samples) - 399, 160):
        frame = samples[start : start + 400] * 32768
        frame = frame - frame.mean()
        frame = np.array([frame[i] - 0.97 * frame[max(i - 1, 0)] for i in range(400)])
        power = np.abs(np.fft.rfft(frame * window, 512)) ** 2
        row = []
        for left, centre, right in zip(edges, edges[1:], edges[2:], strict=False):
            shape = np.interp(mel[:256], [left, centre, right], [0, 1, 0])
            row.append(math.log(max(shape @ power[:256], 2**-23)))
        rows.append(row)
    return np.array(rows)


@settings(max_examples=10, deadline=None)
@given(length=st.integers(400, 1500), mel_bins=st.integers(8, 80), seed=st.integers(0, 99))
def test_fbank_equals_a_naive_loop(length: int, mel_bins: int, seed: int) -> None:
    samples = 0.1 * torch.randn(2, length, generator=torch.Generator().manual_seed(seed))
    found = kaldi_fbank(samples, mel_bins)
    assert found.shape == (2, 1 + (length - 400) // 160, mel_bins)
    naive = np.stack([_naive_fbank(one, mel_bins) for one in samples.double().numpy()])
    np.testing.assert_allclose(found.numpy(), naive, atol=5e-3)


def test_silence_is_the_floor_and_a_tone_is_loudest_where_it_is() -> None:
    time_s = torch.arange(8000) / 16_000
    tones = torch.stack([torch.zeros(8000), *(torch.sin(6.2832 * f * time_s) for f in (500, 3000))])
    silence, low, high = kaldi_fbank(tones)
    assert torch.equal(silence, torch.full_like(silence, math.log(2**-23)))
    assert low.mean(0).argmax() < high.mean(0).argmax()


def test_fbank_is_float32_whatever_is_around_it() -> None:
    samples = noise(1, 4000)
    expected = kaldi_fbank(samples)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(kaldi_fbank(samples), expected)
    assert torch.equal(kaldi_fbank(samples.double()), expected)
    assert small().bfloat16().filter_bank(samples).dtype is torch.float32


def test_fbank_of_less_than_a_window_is_refused() -> None:
    assert kaldi_fbank(torch.zeros(1, 400)).shape == (1, 1, 128)
    with pytest.raises(MediaError, match="at least 400 samples .*but has 399"):
        kaldi_fbank(torch.zeros(1, 399))


# --- positions and attention ----------------------------------------------------------------


def _naive_bucket(distance: int, num_buckets: int, max_distance: int) -> int:
    half, exact = num_buckets // 2, num_buckets // 4
    bucket = abs(distance)
    if bucket >= exact:
        grown = math.log(bucket / exact) / math.log(max_distance / exact) * (half - exact)
        bucket = min(half - 1, exact + int(grown))
    return bucket + half * (distance > 0)


@pytest.mark.parametrize(("num_buckets", "max_distance"), [(16, 20), (320, 800), (6, 9)])
def test_relative_bias_equals_a_naive_loop(num_buckets: int, max_distance: int) -> None:
    length = 50
    config = BeatsConfig(**SMALL | {"num_buckets": num_buckets, "max_distance": max_distance})
    module = RelativeBias(config)
    torch.nn.init.normal_(module.table.weight)
    bias = module(length)
    assert bias.shape == (SMALL["num_attention_heads"], length, length)
    for query in range(length):
        for key in range(length):
            row = _naive_bucket(key - query, num_buckets, max_distance)
            assert torch.equal(bias[:, query, key], module.table.weight[row])


def test_buckets_are_made_once_a_length_and_not_kept_for_ever() -> None:
    device = torch.device("cpu")
    distance_buckets.cache_clear()
    assert distance_buckets(9, 16, 20, device) is distance_buckets(9, 16, 20, device)
    for length in range(1, 200):
        distance_buckets(length, 16, 20, device)
    assert distance_buckets.cache_info().currsize < 50


def _naive_attention(module: BeatsAttention, hidden: Tensor, bias: Tensor) -> Tensor:
    """The published form: scores made small, then large again, the bias added after that."""
    sounds = []
    for tokens in hidden:
        query, key, value = (p(tokens) for p in (module.q_proj, module.k_proj, module.v_proj))
        heads = []
        for head, (q, k, v) in enumerate(
            zip(*(t.chunk(module.heads, dim=-1) for t in (query, key, value)), strict=True)
        ):
            assert module.gate is not None
            parts = module.gate(q)
            update, reset = parts[:, :4].sum(-1).sigmoid(), parts[:, 4:].sum(-1).sigmoid()
            gate = update * (reset * module.gate_scale[0, head, 0, 0] - 1) + 2
            scores = (q * (q.shape[-1] ** -0.5 / 32)) @ k.T
            scores = (scores - scores.max(dim=-1, keepdim=True).values) * 32
            heads.append((scores + gate[:, None] * bias[head]).softmax(dim=-1) @ v)
        sounds.append(module.out_proj(torch.cat(heads, dim=-1)))
    return torch.stack(sounds)


@pytest.mark.parametrize("gradients", [True, False])
def test_attention_equals_the_published_form_with_and_without_gradients(gradients: bool) -> None:
    model = small()
    hidden, bias = noise(3, 11, 16) * 20, noise(2, 11, 11) * 20
    attention = model.layers[0].attention
    with torch.set_grad_enabled(gradients):
        found = attention(hidden, bias)
        torch.testing.assert_close(found, _naive_attention(attention, hidden, bias))
    assert not torch.allclose(found, attention(hidden, None), atol=1e-2)


@pytest.mark.parametrize("kernel", [7, 8])
def test_positions_equal_a_naive_loop(kernel: int) -> None:
    """Token t sees from t - kernel // 2 on; an even one has one token less ahead than behind."""
    module = small(conv_pos=kernel, conv_pos_groups=4).positions
    hidden, width = noise(1, 12, 16) * 10, 16
    weight = torch.empty_like(module.direction)
    for place in range(kernel):
        direction = module.direction[..., place]
        weight[..., place] = direction / direction.norm() * module.magnitude[0, 0, place]
    expected = module.bias.repeat(12, 1)
    for token in range(12):
        for place in range(kernel):
            source = token + place - kernel // 2
            if 0 <= source < 12:
                for channel in range(width):
                    group = channel // 4 * 4
                    seen = hidden[0, source, group : group + 4]
                    expected[token, channel] += weight[channel, :, place] @ seen
    torch.testing.assert_close(module(hidden)[0], torch.nn.functional.gelu(expected))


@torch.no_grad()
@pytest.mark.parametrize(
    ("norm_first", "alpha"), [(True, 1.0), (False, 1.0), (False, (2 * 2) ** 0.25)]
)
def test_layer_adds_the_residuals_where_it_should(norm_first: bool, alpha: float) -> None:
    layer = small(layer_norm_first=norm_first, deep_norm=alpha > 1).layers[0]
    hidden, bias = noise(2, 7, 16) * 10, noise(2, 7, 7)

    def mix(x: Tensor) -> Tensor:
        return layer.attention(x, bias)

    def feed(x: Tensor) -> Tensor:
        inner = layer.fc1(x)
        return layer.fc2(inner * 0.5 * (1 + torch.erf(inner / 2**0.5)))

    if norm_first:
        middle = hidden + mix(layer.norm1(hidden))
        expected = middle + feed(layer.norm2(middle))
    else:
        middle = layer.norm1(alpha * hidden + mix(hidden))
        expected = layer.norm2(alpha * middle + feed(middle))
    torch.testing.assert_close(layer(hidden, bias), expected)


# --- the model ------------------------------------------------------------------------------


@pytest.mark.parametrize("changes", SHAPES)
@pytest.mark.parametrize("length", [2800, 6001, 16_123])
def test_tokens_of_odd_lengths(changes: dict[str, Any], length: int) -> None:
    model = small(**changes)
    config = model.config
    frames = 1 + (length - 400) // 160
    tokens = (frames // config.patch_size) * (config.num_mel_bins // config.patch_size)
    hidden = model(noise(2, length)).last_hidden_state
    assert hidden.shape == (2, tokens, config.hidden_size)
    assert hidden.isfinite().all()


@torch.no_grad()
def test_every_switch_changes_the_answer() -> None:
    samples, plain = noise(1, 6000), small()
    expected = plain(samples).last_hidden_state
    for switch in ("deep_norm", "gated_relative_bias"):
        other = BeatsModel(BeatsConfig(**SMALL | {switch: False})).eval()
        other.load_state_dict(plain.state_dict(), strict=False)
        assert not torch.allclose(other(samples).last_hidden_state, expected, atol=1e-2)
    plain.relative_bias.table.weight.zero_()
    assert not torch.allclose(plain(samples).last_hidden_state, expected, atol=1e-2)


@torch.no_grad()
def test_time_comes_before_frequency() -> None:
    """A change of the last patch row's sound reaches the patch embeddings of the last 8 alone."""
    model, samples = small(), noise(1, samples_of(48))
    changed = samples.clone()
    changed[:, samples_of(32) + 1 :] += 0.1
    before, after = (model._embed(model.filter_bank(s)) for s in (samples, changed))
    moved = (before != after).any(dim=-1)[0]
    assert moved.tolist() == [False] * 16 + [True] * 8


@torch.no_grad()
def test_sounds_of_a_batch_do_not_mix() -> None:
    model, samples = small(), noise(3, 6000)
    together = model(samples).last_hidden_state
    for index in range(3):
        alone = model(samples[index : index + 1]).last_hidden_state
        torch.testing.assert_close(together[index : index + 1], alone)


@torch.no_grad()
def test_silence_behind_a_sound_is_heard_as_in_the_official_model() -> None:
    model, samples = small(), noise(1, samples_of(32))
    alone = model(samples).last_hidden_state
    padded = model(torch.nn.functional.pad(samples, (0, 8000))).last_hidden_state
    assert not torch.allclose(padded[:, : alone.shape[1]], alone, atol=1e-2)


def test_too_short_a_sound_is_refused() -> None:
    model = small()
    assert model(noise(1, 2800)).last_hidden_state.shape[1] == 8
    with pytest.raises(MediaError, match=r"at least 2800 samples \(175 ms at 16 kHz\).* has 2799"):
        model(noise(1, 2799))


@pytest.mark.parametrize("samples", [torch.zeros(4000), torch.zeros(1, 4000, dtype=torch.int16)])
def test_samples_of_another_form_are_refused(samples: Tensor) -> None:
    with pytest.raises(ValueError, match=r"samples must be \[N, S\] floats.*but are torch\."):
        small()(samples)


@torch.no_grad()
def test_bfloat16_is_close_to_float32() -> None:
    samples = noise(2, 8000)
    model = small().bfloat16().float()  # the same rounded weights in both
    expected, probabilities = model(samples).last_hidden_state, model.classify(samples)
    model = model.bfloat16()
    found = model(samples).last_hidden_state
    assert found.dtype is torch.bfloat16
    assert (found.float() - expected).norm() < 0.03 * expected.norm()
    torch.testing.assert_close(model.classify(samples).float(), probabilities, atol=0.05, rtol=0)


@pytest.mark.parametrize("gradients", [True, False])
def test_autocast_is_close_to_float32(gradients: bool) -> None:
    model, samples = small(), noise(2, 8000)
    with torch.set_grad_enabled(gradients):
        expected = model(samples).last_hidden_state
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = model(samples).last_hidden_state
    assert (found.float() - expected).norm() < 0.05 * expected.norm()


def test_gradients_reach_every_parameter_and_the_samples() -> None:
    model, samples = small().train(), noise(1, 6000).requires_grad_()
    (model.classify(samples) * torch.arange(1.0, 6.0)).sum().backward()
    for name, parameter in model.named_parameters():
        # A bias of the keys moves all scores of a query alike, which softmax does not see.
        if "k_proj.bias" not in name:
            assert parameter.grad is not None, name
            assert parameter.grad.abs().max() > 0, name
    assert samples.grad is not None
    assert samples.grad.abs().max() > 0


@pytest.mark.filterwarnings("ignore:.gradient_checkpointing_enable:FutureWarning")  # new in 5.23
def test_gradient_checkpointing_changes_no_gradient() -> None:
    gradients = []
    for checkpointing in (False, True):
        model = small().train()
        if checkpointing:
            model.gradient_checkpointing_enable()
            assert all(layer.gradient_checkpointing for layer in model.layers)
        model.classify(noise(1, 6000)).sum().backward()
        gradients.append({n: p.grad for n, p in model.named_parameters() if p.grad is not None})
    torch.testing.assert_close(*gradients)


def test_training_after_inference_mode_finds_usable_constants() -> None:
    model, samples = small(), noise(1, 7777).requires_grad_()
    for made_once in (distance_buckets, _povey_window, _mel_filters):
        made_once.cache_clear()
    with torch.inference_mode():
        expected = model.classify(samples)
    found = model.classify(samples)
    found.sum().backward()
    torch.testing.assert_close(found, expected)


def test_classes_are_those_of_the_mean_logits() -> None:
    model, samples = small(), noise(2, 6000)
    hidden = model(samples).last_hidden_state
    expected = torch.sigmoid(model.predictor(hidden.mean(dim=1)))  # linear: the mean may come first
    torch.testing.assert_close(model.classify(samples), expected)
    with pytest.raises(ModelConfigError, match="no predictor"):
        small(num_classes=0).classify(samples)


@pytest.mark.parametrize("changes", SHAPES)
def test_saving_and_loading(changes: dict[str, Any], tmp_path: Path) -> None:
    model, samples = small(**changes), noise(1, 5000)
    model.save_pretrained(tmp_path)
    again = AutoModel.from_pretrained(tmp_path).eval()
    assert isinstance(again, BeatsModel)
    assert AutoConfig.from_pretrained(tmp_path).to_diff_dict() == again.config.to_diff_dict()
    expected = model(samples).last_hidden_state
    assert torch.equal(again(samples).last_hidden_state, expected)


def test_a_new_model_is_initialised() -> None:
    """The parameters that transformers does not know: nothing is left as memory had it."""
    torch.manual_seed(0)
    model = BeatsModel(BeatsConfig(**SMALL))
    gate_scale, positions = model.layers[1].attention.gate_scale, model.positions
    assert torch.equal(gate_scale, torch.ones_like(gate_scale))
    expected = (4 / (SMALL["conv_pos"] * SMALL["hidden_size"])) ** 0.5
    assert float(positions.direction.detach().std()) == pytest.approx(expected, rel=0.1)
    norms = positions.direction.norm(dim=(0, 1), keepdim=True)
    torch.testing.assert_close(positions.magnitude, norms)
    assert not positions.bias.any()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_attention_heads": 3}, "multiple of num_attention_heads"),
        ({"conv_pos_groups": 3}, "multiple of conv_pos_groups"),
        ({"num_mel_bins": 100}, "multiple of patch_size"),
        ({"layer_norm_first": True}, "deep_norm must be off"),
        ({"relative_position_embedding": False}, "gated_relative_bias must be off"),
        ({"num_buckets": 3}, "num_buckets must be at least 4"),
        ({"max_distance": 4}, "num_buckets must be at least 4 and less than 4 x max_distance"),
    ],
)
def test_contradictions_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelConfigError, match=message):
        BeatsConfig(**SMALL | changes)
