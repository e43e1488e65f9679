"""The encoder: order, padding, masking and sharing change nothing they should not change."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_onepeace import images, randomised, sounds, texts, tiny_config
from torch import Tensor

from unisono.errors import ContextLengthError, ModelConfigError, UnsupportedModalityError
from unisono.models.onepeace import OnePeaceModel, attention
from unisono.models.onepeace.adapter import Kept
from unisono.models.onepeace.attention import attend
from unisono.models.onepeace.config import OnePeaceConfig

MODEL: OnePeaceModel = randomised(OnePeaceModel(tiny_config()))


def everything(batch: int = 3) -> dict[str, Tensor]:
    return {
        "input_ids": texts(batch, lengths=[7, 5, 4][:batch]),
        "pixel_values": images(batch),
        **sounds([300, 420, 380][:batch]),
    }


@torch.no_grad()
@pytest.mark.parametrize("joint", [False, True])
def test_permuting_the_batch_permutes_the_outputs(joint: bool) -> None:
    given = everything()
    order = torch.tensor([2, 0, 1])
    straight = MODEL(joint=joint, **given)
    permuted = MODEL(joint=joint, **{name: x[order] for name, x in given.items()})
    for m, embedding in straight.embeddings.items():
        torch.testing.assert_close(permuted.embeddings[m], embedding[order], atol=1e-5, rtol=0)


@torch.no_grad()
@settings(max_examples=15, deadline=None)
@given(own=st.integers(2, 9), padding=st.integers(1, 9))
def test_padding_a_text_changes_nothing(own: int, padding: int) -> None:
    ids = texts(1, own, seed=own)
    padded = torch.nn.functional.pad(ids, (0, padding), value=1)
    alone = MODEL(input_ids=ids).last_hidden_states["text"]
    wide = MODEL(input_ids=padded).last_hidden_states["text"]
    torch.testing.assert_close(wide[:, : own + 1], alone, atol=1e-5, rtol=0)


@torch.no_grad()
@settings(max_examples=15, deadline=None)
@given(own=st.integers(120, 700), padding=st.integers(1, 700))
def test_padding_a_sound_changes_nothing(own: int, padding: int) -> None:
    short, long = sounds([own], seed=own), sounds([own, own + padding], seed=own)
    long["audio_values"][0, :own] = short["audio_values"][0]
    alone = MODEL(audio_values=short["audio_values"]).last_hidden_states["audio"][0]
    wide = MODEL(**long).last_hidden_states["audio"][0]
    torch.testing.assert_close(wide[: len(alone)], alone, atol=1e-5, rtol=0)


@torch.no_grad()
def test_padding_changes_nothing_jointly_either() -> None:
    ids, clip = texts(1, 5), sounds([300])
    more = torch.nn.functional.pad(ids, (0, 4), value=1)
    long = {n: torch.nn.functional.pad(x, (0, x.shape[1])) for n, x in clip.items()}
    frames = tiny_config().audio_config.frames(long["audio_values"].shape[1])
    long["audio_mask"] = torch.nn.functional.pad(
        clip["audio_mask"], (0, frames + 1 - clip["audio_mask"].shape[1])
    )
    alone = MODEL(joint=True, input_ids=ids, **clip)
    wide = MODEL(joint=True, input_ids=more, **long)
    for m in ("text", "audio"):
        torch.testing.assert_close(wide.embeddings[m], alone.embeddings[m], atol=1e-5, rtol=0)


@pytest.mark.parametrize("shared", ["attention", "all", "ffn", "nothing"])
def test_training_computes_nothing_for_padding_and_is_the_same(shared: str) -> None:
    model = randomised(OnePeaceModel(tiny_config(shared=shared)))
    fed: list[int] = []
    for name, module in model.named_modules():
        if name.endswith("gate_proj"):
            module.register_forward_pre_hook(lambda _, x: fed.append(x[0].numel() // 32))
    tokens, gradients = {}, {}
    for training in (False, True):
        fed.clear()
        model.train(training)
        found = model(joint=True, **everything()).embeddings
        torch.stack(list(found.values())).square().mul(torch.arange(32)).sum().backward()
        tokens[training] = sum(fed)
        gradients[training] = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
        model.zero_grad(set_to_none=True)
    assert tokens[True] < tokens[False]
    assert gradients[True].keys() == gradients[False].keys()
    for name, gradient in gradients[True].items():
        torch.testing.assert_close(gradient, gradients[False][name], atol=2e-4, rtol=1e-3)


@torch.no_grad()
def test_the_official_padding_leaks() -> None:
    leaky: OnePeaceModel = randomised(OnePeaceModel(tiny_config(official_padding=True)))
    short, long = sounds([300]), sounds([300, 600])
    long["audio_values"][0, :300] = short["audio_values"][0]
    alone, wide = leaky(**short).pooled["audio"][0], leaky(**long).pooled["audio"][0]
    assert float((alone - wide).abs().max()) > 1e-3


@torch.no_grad()
def test_encoding_what_is_visible_is_encoding_all_when_nothing_is_masked() -> None:
    given = everything()
    parts = MODEL.embed(given)
    kept = {p.modality: Kept.of(filled_up(p.tokens.shape[1], p.padding, 3)) for p in parts}
    visible = MODEL.encode(MODEL.embed(given, kept)).sequences
    whole = MODEL.encode(parts)
    for m, sequence in whole.sequences.items():
        real = ~whole.padding[m] if whole.padding[m] is not None else slice(None)
        torch.testing.assert_close(visible[m][real], sequence[real], atol=1e-5, rtol=0)


def filled_up(length: int, padding: Tensor | None, batch: int) -> Tensor:
    """All positions, -1 at padding."""
    ids = torch.arange(length).expand(batch, -1)
    return ids if padding is None else ids.masked_fill(padding, -1)


@torch.no_grad()
def test_a_joint_batch_may_lack_modalities_in_some_samples() -> None:
    given = everything()
    present = {
        "image": torch.tensor([True, False, True]),
        "audio": torch.tensor([False, False, True]),
    }
    mixed = MODEL(joint=True, present=present, **given)
    only = MODEL(input_ids=given["input_ids"][1:2]).embeddings["text"]
    torch.testing.assert_close(mixed.embeddings["text"][1:2], only, atol=1e-5, rtol=0)
    both = MODEL(
        joint=True, input_ids=given["input_ids"][:1], pixel_values=given["pixel_values"][:1]
    )
    torch.testing.assert_close(
        mixed.embeddings["image"][:1], both.embeddings["image"], atol=1e-5, rtol=0
    )
    changed = MODEL(joint=True, present=present, **{**given, "pixel_values": images(3, seed=9)})
    torch.testing.assert_close(changed.embeddings["text"][1], mixed.embeddings["text"][1])
    assert not torch.allclose(changed.embeddings["text"][0], mixed.embeddings["text"][0])


@torch.no_grad()
def test_the_bias_is_never_as_large_as_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    real = attention.scaled_dot_product_attention

    def spy(q: Tensor, k: Tensor, v: Tensor, **kwargs: Tensor) -> Tensor:
        seen.append((len(q), len(kwargs["attn_mask"])))
        return real(q, k, v, **kwargs)

    monkeypatch.setattr(attention, "scaled_dot_product_attention", spy)
    MODEL(joint=True, **everything())
    assert seen == [(3, 1)] * MODEL.config.num_hidden_layers


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 9), st.booleans())
def test_padding_in_a_channel_is_padding_in_the_mask(length: int, biased: bool) -> None:
    g = torch.Generator().manual_seed(length)
    q, k, v = (torch.randn(3, 2, length, 4, generator=g, requires_grad=True) for _ in range(3))
    bias = torch.randn(1, 2, length, length, generator=g) if biased else None
    padding = torch.rand(3, length, generator=g) < 0.5
    padding[:, 0] = False
    mask = torch.zeros(3, 1, 1, length).masked_fill(padding[:, None, None], -torch.inf)
    plain = torch.nn.functional.scaled_dot_product_attention(
        q, k, v, attn_mask=(0 if bias is None else bias) + mask.expand(-1, 2, length, -1)
    )
    ours = attend(q, k, v, bias=bias, padding=padding)
    torch.testing.assert_close(ours, plain)
    weights = torch.randn(plain.shape, generator=g)
    for a, b in zip(
        torch.autograd.grad((plain * weights).sum(), (q, k, v)),
        torch.autograd.grad((ours * weights).sum(), (q, k, v)),
        strict=True,
    ):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize(
    ("shared", "attentions", "ffns"),
    [("attention", 1, 3), ("all", 1, 1), ("nothing", 3, 3), ("ffn", 3, 1)],
)
def test_what_the_modalities_share(shared: str, attentions: int, ffns: int) -> None:
    model = randomised(OnePeaceModel(tiny_config(shared=shared)))
    layer = model.encoder.layers[0]
    assert (len(layer.attention), len(layer.ffn)) == (attentions, ffns)
    out = model(joint=True, **everything())
    sum(x.sum() for x in out.embeddings.values()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in layer.parameters())


def test_a_modality_uses_its_own_weights_only() -> None:
    model = randomised(OnePeaceModel(tiny_config(shared="nothing")))
    model(input_ids=texts()).embeddings["text"].sum().backward()
    for name, p in model.encoder.named_parameters():
        steps = name.split(".")
        assert (p.grad is not None) == ("image" not in steps and "audio" not in steps), name


def test_checkpointing_changes_no_gradient() -> None:
    grads = []
    for checkpointing in (False, True):
        model = randomised(OnePeaceModel(tiny_config())).train()
        if checkpointing:
            model.activation_checkpointing_enable()
        model(joint=True, **everything()).embeddings["image"][:, 0].sum().backward()
        grads.append({n: p.grad for n, p in model.named_parameters() if p.grad is not None})
    assert grads[0].keys() == grads[1].keys()
    for name, grad in grads[0].items():
        torch.testing.assert_close(grads[1][name], grad)


@torch.no_grad()
def test_bfloat16_is_close() -> None:
    exact = MODEL(joint=True, **everything()).embeddings
    rough = randomised(OnePeaceModel(tiny_config())).to(torch.bfloat16)
    for m, embedding in rough(joint=True, **everything()).embeddings.items():
        assert embedding.dtype == torch.bfloat16
        assert float((embedding * exact[m]).sum(-1).min()) > 0.99


@torch.no_grad()
def test_every_layer_can_be_had() -> None:
    out = MODEL(joint=True, output_hidden_states=True, **everything())
    for m, layers in out.hidden_states.items():
        assert len(layers) == MODEL.config.num_hidden_layers + 1
        last = MODEL.encoder.norms[m](layers[-1])
        torch.testing.assert_close(last, out.last_hidden_states[m])
    assert MODEL(**everything()).hidden_states is None


@torch.no_grad()
def test_drop_path_drops_whole_samples_in_training_only() -> None:
    config = tiny_config(drop_path_rate=1.0, num_hidden_layers=2)
    model = randomised(OnePeaceModel(config))
    hidden = model(input_ids=texts(), output_hidden_states=True).hidden_states["text"]
    assert not torch.equal(hidden[1], hidden[2])
    branch = model.train().encoder.layers[1].ffn_branch
    branch.drop_path = 0.5
    torch.manual_seed(0)
    x, y = torch.zeros(400, 2, config.hidden_size), torch.ones(400, 2, config.hidden_size)
    alive = branch.survivors(x)
    out = branch(x, y[alive], alive)
    kept = out[:, 0, 0] != 0
    assert kept.nonzero().flatten().equal(alive)
    assert 0.4 < float(kept.float().mean()) < 0.6
    torch.testing.assert_close(out.abs().amax(dim=(0, 1)), branch.gamma.abs() * 2)
    assert branch.eval().survivors(x) is None


@torch.no_grad()
@pytest.mark.parametrize("size", [(32, 32), (64, 64), (32, 80)])
def test_images_of_any_size(size: tuple[int, int]) -> None:
    pixels = torch.randn(2, 3, *size)
    out = MODEL(pixel_values=pixels).last_hidden_states["image"]
    assert out.shape == (2, 1 + size[0] * size[1] // 256, MODEL.config.hidden_size)
    assert out.isfinite().all()


def test_what_is_wrong_is_said() -> None:
    with pytest.raises(UnsupportedModalityError, match="smell"):
        MODEL(input_ids=texts(), smell=texts())
    with pytest.raises(UnsupportedModalityError, match="must be given"):
        MODEL(attention_mask=texts())
    with pytest.raises(ContextLengthError, match="at most 63 tokens, but has 80"):
        MODEL(input_ids=texts(1, 80))
    with pytest.raises(ModelConfigError, match="multiples of 16"):
        MODEL(pixel_values=images(side=50))
    with pytest.raises(ModelConfigError, match="num_attention_heads"):
        OnePeaceConfig(hidden_size=30, num_attention_heads=4)
