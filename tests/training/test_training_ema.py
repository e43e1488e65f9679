"""The average of the weights."""

import torch
from torch import nn

from unisono.training.ema import Ema


def test_average_follows_its_formula_and_swaps() -> None:
    weight = nn.Parameter(torch.tensor([1.0, 2.0]))
    ema = Ema({"weight": weight}, decay=0.9)
    expected = torch.tensor([1.0, 2.0])
    for step in range(5):
        with torch.no_grad():
            weight += step
        ema.update()
        expected = 0.9 * expected + 0.1 * weight.detach()
    last = weight.detach().clone()
    with ema.swapped_in():
        torch.testing.assert_close(weight.detach(), expected)
    assert torch.equal(weight, last)
    with ema.swapped_in():  # swapping has not changed the average either
        torch.testing.assert_close(weight.detach(), expected)
