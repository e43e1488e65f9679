"""The losses against plain formulas, and against data that must not satisfy them."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import normalize

from unisono.models.onepeace.losses import (
    DENOISING,
    VISION_LANGUAGE,
    box_loss,
    cross_modal_contrast,
    denoising_contrast,
    gather,
    generalised_overlap,
    masked_pairs,
)

SCALE = torch.tensor(10.0)


def features(rows: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return normalize(torch.randn(rows, 8, generator=generator), dim=-1)


def test_pairs_that_belong_together_beat_shuffled_ones() -> None:
    a = features(16)
    b = normalize(a + 0.1 * features(16, 1), dim=-1)
    right = cross_modal_contrast(a, b, SCALE)
    wrong = cross_modal_contrast(a, b.roll(1, dims=0), SCALE)
    assert float(right.loss) < 0.5 * float(wrong.loss)
    assert [int(n) for n in right.correct] == [16, 16]
    assert [int(n) for n in wrong.correct] == [0, 0]


@pytest.mark.parametrize("name", sorted(DENOISING))
def test_tokens_that_resemble_their_teachers_beat_shuffled_ones(name: str) -> None:
    teachers = features(20)
    targets = torch.arange(0, 20, 2)
    students = teachers[targets] + 0.05 * features(10, 1)
    right = DENOISING[name](students, teachers, targets)
    wrong = DENOISING[name](students, teachers, targets.roll(1))
    assert float(right) < float(wrong)


@pytest.mark.parametrize("name", sorted(DENOISING))
def test_teachers_get_no_gradient(name: str) -> None:
    students = features(4).requires_grad_()
    teachers = features(6, 1).requires_grad_()
    DENOISING[name](students, teachers, torch.tensor([0, 2, 3, 5])).backward()
    assert students.grad is not None
    assert teachers.grad is None


@settings(deadline=None)
@given(st.integers(2, 12), st.floats(0.0, 0.3))
def test_label_smoothing_is_fairseqs(tokens: int, smoothing: float) -> None:
    students, teachers = features(tokens), features(tokens, 1)
    targets = torch.arange(tokens)
    log = torch.log_softmax(2.5 * students @ teachers.T, dim=1)
    other = smoothing / (tokens - 1)
    expected = -(1 - smoothing - other) * log.diag() - other * log.sum(dim=1)
    found = denoising_contrast(students, teachers, targets, label_smoothing=smoothing)
    torch.testing.assert_close(found, expected.mean())


def test_each_direction_trains_its_own_side() -> None:
    a, b = features(5).requires_grad_(), features(5, 1).requires_grad_()
    cross_modal_contrast(a, b, SCALE).loss.backward()
    detached = (a.grad, b.grad)
    a2, b2 = a.detach().requires_grad_(), b.detach().requires_grad_()
    targets = torch.arange(5)
    loss = torch.nn.functional.cross_entropy
    own = loss(SCALE * a2 @ b2.detach().T, targets) + loss(SCALE * b2 @ a2.detach().T, targets)
    for found, grad in zip(detached, torch.autograd.grad(own / 2, (a2, b2)), strict=True):
        torch.testing.assert_close(found, grad)
    full = cross_modal_contrast(a2, b2, SCALE, full_gradients=True).loss
    both = loss(SCALE * a2 @ b2.T, targets) + loss(SCALE * b2 @ a2.T, targets)
    for found, grad in zip(
        torch.autograd.grad(full, (a2, b2)), torch.autograd.grad(both / 2, (a2, b2)), strict=True
    ):
        torch.testing.assert_close(found, grad)


def test_without_a_process_group_only_these_are_gathered() -> None:
    a = features(3).requires_grad_()
    assert gather(a).features.requires_grad is False
    assert gather(a, full_gradients=True).features is a


def test_which_token_is_whose_teacher() -> None:
    mask = torch.tensor([[0, 1, 0, 1, 0], [0, 0, 1, 0, 0]]).bool()
    padding = torch.tensor([[0, 0, 0, 0, 0], [0, 0, 0, 1, 1]]).bool()
    students, teachers, targets = masked_pairs(mask, padding)
    positions = torch.arange(10).view(2, 5)
    assert positions[teachers].tolist() == [1, 2, 3, 4, 6, 7]
    assert positions[students].tolist() == [1, 3, 7]
    assert positions[teachers][targets].tolist() == [1, 3, 7]


def test_overlap_of_known_boxes() -> None:
    a = torch.tensor([[0.0, 0, 2, 2], [0, 0, 1, 1], [0, 0, 1, 1]])
    b = torch.tensor([[1.0, 1, 3, 3], [0, 0, 1, 1], [2, 0, 3, 1]])
    expected = torch.tensor([1 / 7 - 2 / 9, 1.0, -1 / 3])
    torch.testing.assert_close(generalised_overlap(a, b), expected)


def test_a_box_turned_inside_out_still_has_a_loss() -> None:
    wrong = torch.tensor([[0.9, 0.9, 0.1, 0.1]], requires_grad=True)
    boxes = torch.tensor([[0.2, 0.2, 0.4, 0.4]])
    loss = box_loss(wrong, boxes)
    loss.backward()
    assert loss.isfinite()
    assert wrong.grad is not None
    assert wrong.grad.isfinite().all()
    assert float(box_loss(boxes, boxes)) == pytest.approx(0.0, abs=1e-6)


def test_terms_of_a_stage_can_be_left_out() -> None:
    less = VISION_LANGUAGE.without("joint", "text")
    assert less.joint == {"text": 0.0, "image": 0.0}
    assert less.alone == {"text": 0.0, "image": 1.0}
    assert VISION_LANGUAGE.without("contrast").contrast == 0.0
    assert less.weight("image") == 1.0
    assert VISION_LANGUAGE.weight("joint_text") == 0.5
