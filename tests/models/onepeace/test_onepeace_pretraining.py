"""Pretraining steps: what they change, what they must not see, and how they add up over ranks."""

import socket
from datetime import timedelta
from typing import Any

import pytest
import torch
from tiny_onepeace import images, pair_masks, randomised, sounds, texts, tiny_config
from torch import Tensor

from unisono.errors import ModelConfigError
from unisono.models.onepeace import (
    AUDIO_LANGUAGE,
    VISION_LANGUAGE,
    Masked,
    OnePeaceForPretraining,
    Stage,
)
from unisono.models.onepeace.losses import Gathered, cross_modal_contrast

STAGES = {"vision": VISION_LANGUAGE, "audio": AUDIO_LANGUAGE}


def batch(stage: Stage, seed: int = 0) -> dict[str, Any]:
    given: dict[str, Any] = {"input_ids": texts(4, 9, seed, lengths=[9, 6, 7, 5])}
    if "image" in stage.pair:
        given["pixel_values"] = images(seed=seed)
    else:
        given.update(sounds([300, 500, 420, 360], seed))
    return {**given, "masks": pair_masks(given, stage.pair[1]), "stage": stage}


def model(**changes: Any) -> OnePeaceForPretraining:
    made: OnePeaceForPretraining = randomised(OnePeaceForPretraining(tiny_config(**changes)))
    return made


@pytest.mark.parametrize("name", STAGES)
def test_a_step_lowers_every_term(name: str) -> None:
    learner, given = model(), batch(STAGES[name])
    learner.set_trainable(STAGES[name])
    trained = [p for p in learner.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=3e-3)
    first = learner(**given)
    for _ in range(12):
        optimiser.zero_grad()
        learner(**given).loss.backward()
        optimiser.step()
    last = learner(**given)
    assert set(first.losses) == {"contrast", *STAGES[name].alone, *joint_names(STAGES[name])}
    for term in first.losses:
        assert last.losses[term].item() < first.losses[term].item(), term


def joint_names(stage: Stage) -> set[str]:
    return {f"joint_{m}" for m in stage.joint}


def test_stage_2_changes_only_sound_in_the_encoder() -> None:
    learner, given = model(), batch(AUDIO_LANGUAGE)
    learner.set_trainable(AUDIO_LANGUAGE)
    before = {name: p.detach().clone() for name, p in learner.named_parameters()}
    optimiser = torch.optim.SGD(learner.parameters(), lr=0.1)
    learner(**given).loss.backward()
    optimiser.step()
    changed = {name for name, p in learner.named_parameters() if not torch.equal(p, before[name])}
    of_encoder = {n for n in changed if n.startswith("onepeace.")} - {"onepeace.logit_scale"}
    assert of_encoder
    assert all("audio" in name.split(".") for name in of_encoder)
    for wanted in ("adapters.audio.stem", "encoder.layers.1.ffn.audio", "encoder.norms.audio"):
        assert any(name.startswith(f"onepeace.{wanted}") for name in of_encoder), wanted
    assert "onepeace.logit_scale" in changed
    assert "decoder.mask_tokens.text" in changed
    learner.set_trainable(VISION_LANGUAGE)
    assert all(p.requires_grad for p in learner.parameters())


@torch.no_grad()
@pytest.mark.parametrize("name", STAGES)
def test_padding_changes_no_loss(name: str) -> None:
    learner, given = model(), batch(STAGES[name])
    padded = {**given, "input_ids": torch.nn.functional.pad(given["input_ids"], (0, 5), value=1)}
    padded["masks"] = {
        m: Masked(ids, torch.nn.functional.pad(hidden, (0, 5)) if m.endswith("text") else hidden)
        for m, (ids, hidden) in given["masks"].items()
    }
    for term, loss in learner(**given).losses.items():
        torch.testing.assert_close(learner(**padded).losses[term], loss, atol=1e-5, rtol=1e-5)
    leaky = model(official_padding=True)
    straight, wide = (
        leaky(**given).losses["text" if name == "vision" else "joint_text"],
        leaky(**padded).losses["text" if name == "vision" else "joint_text"],
    )
    assert float((straight - wide).abs()) > 1e-5


@torch.no_grad()
@pytest.mark.parametrize("name", STAGES)
def test_hidden_tokens_are_not_seen(name: str) -> None:
    """The student's output does not move when the medium changes where it is masked."""
    learner, given = model(), batch(STAGES[name])
    changed = dict(given)
    ids, hidden = given["input_ids"].clone(), given["masks"]["joint_text"].mask_indices[:, 1:]
    changed["input_ids"] = torch.where(hidden, (ids + 3) % 30 + 4, ids)
    names = set(STAGES[name].pair)
    own = {m: given["masks"][f"joint_{m}"] for m in names}
    media = [{k: v for k, v in g.items() if k not in ("masks", "stage")} for g in (given, changed)]
    one, two = (learner.decode(names, own, m).decoded for m in media)
    for m in names:
        torch.testing.assert_close(one[m], two[m])
    assert not torch.equal(given["input_ids"], changed["input_ids"])


@pytest.mark.parametrize("kind", ["contrast", "smooth_l1", "l2", "cosine"])
@pytest.mark.parametrize("shared", ["attention", "all", "nothing", "ffn"])
def test_every_ablation_trains(kind: str, shared: str) -> None:
    learner = model(denoising=kind, shared=shared)
    loss = learner(**batch(VISION_LANGUAGE)).loss
    loss.backward()
    assert loss.isfinite()
    grads = [p.grad for n, p in learner.named_parameters() if "audio" not in n]
    assert all(g is not None and g.isfinite().all() for g in grads)


def test_terms_that_are_off_are_not_computed() -> None:
    stage = VISION_LANGUAGE.without("contrast", "joint", "text")
    given = {**batch(VISION_LANGUAGE), "stage": stage}
    given["masks"] = {"image": given["masks"]["image"]}
    out = model()(**given)
    assert set(out.losses) == {"image"}
    out.loss.backward()


def test_a_missing_mask_is_named() -> None:
    given = batch(VISION_LANGUAGE)
    del given["masks"]["joint_image"]
    with pytest.raises(ModelConfigError, match="joint_image"):
        model()(**given)


def test_the_logit_scale_stays_in_its_bounds_and_can_be_reset() -> None:
    learner = model()
    with torch.no_grad():
        learner.onepeace.logit_scale.fill_(9.0)
    assert learner.onepeace.scale().item() == pytest.approx(100.0)
    learner.onepeace.reset_scale()
    assert learner.onepeace.scale().item() == pytest.approx(learner.config.logit_scale_init)


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def step_as_rank(rank: int, port: int) -> list[dict[str, Any]]:
    """One rank's loss and gradients, gathered sides detached and not."""
    torch.distributed.init_process_group(
        "gloo",
        init_method=f"tcp://127.0.0.1:{port}",
        rank=rank,
        world_size=2,
        timeout=timedelta(seconds=120),
    )
    try:
        return [gradients(full, batch(VISION_LANGUAGE, seed=rank)) for full in (False, True)]
    finally:
        torch.distributed.destroy_process_group()


def gradients(full: bool, given: dict[str, Any]) -> dict[str, Any]:
    learner = model()
    out = learner(**given, full_gradients=full)
    out.loss.backward()
    grads = {n: p.grad for n, p in learner.named_parameters() if p.grad is not None}
    return {"loss": out.loss.detach(), "grads": grads}


def second_rank(_: int, port: int, result: str) -> None:
    torch.set_num_threads(1)
    torch.save(step_as_rank(1, port), result)


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[list[dict[str, Any]]]:
    """This process is rank 0, another one rank 1."""
    result, port = tmp_path_factory.mktemp("ranks") / "1.pt", free_port()
    other = torch.multiprocessing.spawn(second_rank, (port, str(result)), nprocs=1, join=False)
    first = step_as_rank(0, port)
    while not other.join():
        pass
    return [first, torch.load(result)]


def one_process(full: bool) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    """The same two sub-batches without ranks: each contrast sees both."""
    learner = model()
    batches = [batch(VISION_LANGUAGE, seed=rank) for rank in (0, 1)]
    without = VISION_LANGUAGE.without("contrast")
    features = [
        learner.onepeace(input_ids=b["input_ids"], pixel_values=b["pixel_values"]).embeddings
        for b in batches
    ]
    everyone = {m: torch.cat([f[m] for f in features]) for m in ("text", "image")}
    losses = []
    for i, given in enumerate(batches):
        sides = {m: Gathered(x if full else x.detach(), 4 * i) for m, x in everyone.items()}
        contrast = cross_modal_contrast(
            features[i]["text"],
            features[i]["image"],
            learner.onepeace.scale(),
            gathered=(sides["text"], sides["image"]),
        )
        losses.append(contrast.loss + learner(**{**given, "stage": without}).loss)
    names, parameters = zip(*learner.named_parameters(), strict=True)
    wholes = [sum(losses)] if full else losses
    grads = [
        torch.autograd.grad(x, parameters, retain_graph=True, allow_unused=True) for x in wholes
    ]
    return losses, [dict(zip(names, g, strict=True)) for g in grads]


@pytest.mark.parametrize("full", [False, True])
def test_two_ranks_are_one_process(ranks: list[list[dict[str, Any]]], full: bool) -> None:
    first, second = (rank[full] for rank in ranks)
    losses, grads = one_process(full)
    for rank, loss in zip((first, second), losses, strict=True):
        torch.testing.assert_close(rank["loss"], loss.detach(), atol=0, rtol=1e-5)
    if full:  # a gradient that reaches both ranks is only whole as the ranks' sum
        summed = {n: g + second["grads"][n] for n, g in first["grads"].items()}
        compared = [(summed, grads[0])]
    else:
        compared = [(first["grads"], grads[0]), (second["grads"], grads[1])]
    for found, expected in compared:
        for name, grad in found.items():
            scale = float(expected[name].abs().max()) + 1e-6
            torch.testing.assert_close(grad, expected[name], atol=1e-4 * scale, rtol=0, msg=name)


def test_texts_of_one_token_leave_nothing_to_mask_and_no_harm() -> None:
    learner, given = model(), batch(VISION_LANGUAGE)
    given["masks"] = {
        name: Masked(ids, torch.zeros_like(hidden) if name.endswith("text") else hidden)
        for name, (ids, hidden) in given["masks"].items()
    }
    found = learner(**given)
    assert found.losses["text"] == found.losses["joint_text"] == 0
    assert found.loss.isfinite()
    found.loss.backward()
    gradients = [p.grad for p in learner.parameters() if p.grad is not None]
    assert all(gradient.isfinite().all() for gradient in gradients)
