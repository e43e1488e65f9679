"""The chunked loss is the full one: its value, its gradients, and never its memory."""

import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor

import pytest
import torch
from peak_memory import peak_above_now
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from unisono.models.chunked_loss import IGNORED, summed_label_loss

B, T, D, V = 3, 11, 8, 29


def full_loss(hidden: Tensor, labels: Tensor, head: nn.Module) -> Tensor:
    logits = head(hidden)[:, :-1].float().flatten(0, 1)
    return cross_entropy(logits, labels[:, 1:].flatten(), reduction="sum", ignore_index=IGNORED)


def material(*, bias: bool = False) -> tuple[Tensor, Tensor, nn.Linear]:
    torch.manual_seed(0)
    labels = torch.randint(0, V, (B, T))
    labels[torch.rand(B, T) < 0.5] = IGNORED
    return torch.randn(B, T, D), labels, nn.Linear(D, V, bias=bias)


def gradients(loss: Tensor, *wanted: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(loss * 0.37, wanted))


@pytest.mark.parametrize("chunk", [1, 4, 1000])
@pytest.mark.parametrize("bias", [False, True])
def test_equals_the_full_loss(chunk: int, bias: bool) -> None:
    hidden, labels, head = material(bias=bias)
    hidden.requires_grad_()
    wanted = [hidden, *head.parameters()]
    full, chunked = full_loss(hidden, labels, head), summed_label_loss(hidden, labels, head, chunk)
    torch.testing.assert_close(chunked, full)
    torch.testing.assert_close(gradients(chunked, *wanted), gradients(full, *wanted))


def test_a_head_of_another_kind() -> None:
    """One with an adapter, say: its own forward pass is what counts."""
    hidden, labels, plain = material()
    hidden.requires_grad_()
    head = nn.Sequential(nn.Linear(D, D), plain)
    wanted = [hidden, *head.parameters()]
    full, chunked = full_loss(hidden, labels, head), summed_label_loss(hidden, labels, head, 4)
    torch.testing.assert_close(chunked, full)
    torch.testing.assert_close(gradients(chunked, *wanted), gradients(full, *wanted))


def test_frozen_head_and_frozen_rest() -> None:
    hidden, labels, head = material()
    head.requires_grad_(False)
    hidden.requires_grad_()
    (gradient,) = gradients(summed_label_loss(hidden, labels, head, 4), hidden)
    torch.testing.assert_close(gradient, gradients(full_loss(hidden, labels, head), hidden)[0])
    head.requires_grad_(True)
    still = hidden.detach()
    (gradient,) = gradients(summed_label_loss(still, labels, head, 4), head.weight)
    expected = gradients(full_loss(still, labels, head), head.weight)[0]
    torch.testing.assert_close(gradient, expected)


def test_a_tied_head_gets_both_gradients() -> None:
    _, labels, head = material()
    ids = torch.randint(0, V, (B, T))

    def gradient(loss: Tensor) -> Tensor:
        return gradients(loss, head.weight)[0]

    embedded = nn.functional.embedding(ids, head.weight)
    chunked = gradient(summed_label_loss(embedded, labels, head, 4))
    embedded = nn.functional.embedding(ids, head.weight)
    torch.testing.assert_close(chunked, gradient(full_loss(embedded, labels, head)))


def test_under_autocast_the_sum_keeps_its_digits() -> None:
    hidden, labels, head = material()
    hidden.requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        chunked = summed_label_loss(hidden, labels, head, 4)
        full = full_loss(hidden, labels, head)
    assert chunked.dtype == torch.float32
    torch.testing.assert_close(chunked, full, rtol=1e-5, atol=0.0)
    found, expected = (gradients(one, hidden, head.weight) for one in (chunked, full))
    assert [one.dtype for one in found] == [torch.float32] * 2
    torch.testing.assert_close(found, expected, atol=2e-2, rtol=2e-2)
    exact = gradients(full_loss(hidden, labels, head), hidden, head.weight)
    torch.testing.assert_close(found, exact, atol=3e-2, rtol=3e-2)


def test_half_precision_weights_do_not_lose_the_last_chunks() -> None:
    torch.manual_seed(0)
    hidden, head = torch.randn(1, 2001, D), nn.Linear(D, V, bias=False)
    labels = torch.randint(0, V, (1, 2001))
    exact = gradients(full_loss(hidden, labels, head), head.weight)[0]
    half = head.to(torch.bfloat16)
    loss = summed_label_loss(hidden.to(torch.bfloat16), labels, half, 10)
    gradient = gradients(loss, half.weight)[0]
    assert gradient.dtype == torch.bfloat16
    torch.testing.assert_close(gradient.float(), exact, rtol=2e-2, atol=2e-2 * exact.abs().max())


def test_without_gradients_and_without_labels() -> None:
    hidden, labels, head = material()
    with torch.no_grad():
        loss = summed_label_loss(hidden, labels, head, 4)
    torch.testing.assert_close(loss, full_loss(hidden, labels, head).detach())
    hidden.requires_grad_()
    nothing = summed_label_loss(hidden, torch.full_like(labels, IGNORED), head, 4)
    assert nothing == 0
    assert not gradients(nothing, hidden)[0].any()


def test_the_first_label_is_predicted_by_nothing() -> None:
    hidden, labels, head = material()
    other = labels.clone()
    other[:, 0] = 1
    same = [summed_label_loss(hidden, one, head, 4) for one in (labels, other)]
    assert same[0] == same[1]


def test_a_second_backward_pass_is_refused() -> None:
    hidden, labels, head = material()
    loss = summed_label_loss(hidden.requires_grad_(), labels, head, 4)
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="one backward pass only"):
        loss.backward()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
def test_memory_is_that_of_a_chunk() -> None:
    """4,096 labels x 8,192 words are 128 MB of logits; a chunk of 128 labels is 4 MB."""
    count, words, chunk = 4096, 8192, 128
    fresh = multiprocessing.get_context("spawn")  # this process may keep what it once had
    with ProcessPoolExecutor(1, mp_context=fresh) as process:
        full, chunked = process.submit(peaks, count, words, chunk).result()
    logits = count * words * 4
    assert full > 2 * logits
    assert chunked < logits / 2


def peaks(count: int, words: int, chunk: int) -> tuple[int, int]:
    """Bytes of the whole loss, and of the chunked one."""
    hidden = torch.randn(1, count + 1, 64, requires_grad=True)
    labels = torch.randint(0, words, (1, count + 1))
    head = nn.Linear(64, words, bias=False)
    summed_label_loss(hidden[:, :9], labels[:, :9], head, chunk).backward()  # the gradients' room
    _, full = peak_above_now(lambda: full_loss(hidden, labels, head).backward())
    _, chunked = peak_above_now(lambda: summed_label_loss(hidden, labels, head, chunk).backward())
    return full, chunked
