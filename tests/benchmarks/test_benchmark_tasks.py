"""tasks.py: what is right has the full score, both sides begin alike, heads learn what is there."""

import numpy as np
import pytest
import tasks
import tasks_dense
import tasks_heads
import tiny
import torch
from tasks_features import Features
from tasks_rows import TASKS

from unisono.models.onepeace.dense.instances import Instance


def made(loss: str) -> tuple[Features, list[dict]]:
    """Tokens that say the class, padding that must not be looked at."""
    draws = torch.Generator().manual_seed(0)
    places = torch.randint(3, (90,), generator=draws)
    width = tiny.onepeace()[0].config.hidden_size
    tokens = torch.randn(90, 1, 5, width, generator=draws)
    tokens[torch.arange(90), 0, 2, places] += 6
    padding = torch.zeros(90, 1, 5, dtype=torch.bool)
    padding[:, :, 4] = True
    names = ("cat", "dog", "owl")
    labels = [names[place] for place in places]
    rows = [{"label": one, "labels": [one, "animal"]} for one in labels]
    return Features(tokens.half(), padding), rows


@pytest.mark.parametrize(
    ("name", "metric"), [("audio classification", "accuracy"), ("audio tagging", "mAP")]
)
def test_a_head_learns_what_the_tokens_say(name: str, metric: str) -> None:
    bench = TASKS[name]
    found, rows = made(bench.loss)
    config = tiny.onepeace()[0].config
    labels = tasks_heads.labels_of(bench, rows)
    values = []
    for features in (found, Features(torch.zeros_like(found.tokens), found.padding)):
        model = tasks_heads.fitted(bench, features, rows, config, steps=80)
        outputs = tasks_heads.outputs(model, features)
        values.append(tasks_heads.score_of(bench, outputs, rows, labels)[metric].value)
    assert values[0] > 0.95
    assert values[1] < 0.7  # nothing in the tokens
    loud = Features(torch.where(found.padding[..., None], 50.0, found.tokens), found.padding)
    assert torch.equal(tasks_heads.outputs(model, loud), tasks_heads.outputs(model, found))


def test_intervals_apart() -> None:
    one, other = ({"value": 0.5, "interval": pair} for pair in ([0.4, 0.6], [0.1, 0.39]))
    assert tasks.apart(one, other)
    assert not tasks.apart(other, one)
    assert not tasks.apart(one, {"value": 0.3, "interval": [0.2, 0.41]})


def test_average_precision_of_the_truth() -> None:
    mask = np.zeros((2, 128, 128), dtype=bool)
    mask[0, 10:40, 20:90] = mask[1, 60:100, 5:50] = True
    scene = tasks_dense.Scene(tasks_dense.Path("x"), (0, 2), mask)
    x, y, w, h = tasks_dense._box(mask[0])
    assert (x, y, w, h) == (20, 10, 70, 30)
    right = [
        Instance(
            label,
            tasks_dense.NAMES[label],
            0.9,
            (b[0], b[1], b[0] + b[2], b[1] + b[3]),
            torch.from_numpy(m),
        )
        for label, m in zip(scene.classes, mask, strict=True)
        for b in [tasks_dense._box(m)]
    ]
    for by in ("box", "mask"):
        found = tasks_dense.resampled([scene] * 3, [right, right, []], by)[f"{by} AP"]
        assert found.value == pytest.approx(2 / 3, abs=0.01)
        assert found.low <= found.value <= found.high
    assert scene.labels()[20, 30] == 1
    assert scene.labels()[70, 30] == 3
