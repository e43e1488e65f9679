"""MTEB, as it is, runs our embedder on a local task and scores it as our own runner does."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
from PIL import Image

from unisono.errors import UnsupportedModalityError
from unisono.evaluation import make_task
from unisono.evaluation.harness.mteb_encoder import MtebEncoder
from unisono.manifests.row import PairRow, Row
from unisono.runtime.embedder import Embedder

mteb = pytest.importorskip("mteb")
datasets = pytest.importorskip("datasets")

COUNT = 30


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    model, processor = tiny.onepeace()
    return Embedder(model, processor, name="tiny", fingerprint="f" * 12)


def pictures() -> list[Image.Image]:
    draws = np.random.default_rng(0)
    return [
        Image.fromarray(draws.integers(0, 255, (32, 32, 3), dtype=np.uint8)) for _ in range(COUNT)
    ]


def tones() -> list[np.ndarray]:
    times = np.arange(16_000, dtype=np.float32) / 16_000
    return [0.5 * np.sin(2 * np.pi * (200 + 50 * i) * times) for i in range(COUNT)]


WORDS = [f"thing number {i}" for i in range(COUNT)]


def local_task(corpus: dict[str, list[Any]], modality: str) -> Any:
    """Retrieval of media by texts; the i-th text belongs to the i-th medium."""
    from mteb.abstasks.retrieval import AbsTaskRetrieval
    from mteb.abstasks.task_metadata import TaskMetadata

    ids = [str(i) for i in range(COUNT)]

    class Local(AbsTaskRetrieval):
        metadata = TaskMetadata(
            name=f"Local{modality}",
            description="media by words",
            reference=None,
            dataset={"path": "none/none", "revision": "1"},
            type="Any2AnyRetrieval",
            category={"image": "t2i", "audio": "t2a"}[modality],
            modalities=["text", modality],
            eval_splits=["test"],
            eval_langs=["eng-Latn"],
            main_score="recall_at_1",
            date=None,
            domains=None,
            task_subtypes=None,
            license=None,
            annotations_creators=None,
            dialect=None,
            sample_creation=None,
            bibtex_citation=None,
        )

        def load_data(self, *_: Any, **__: Any) -> None:
            queries = datasets.Dataset.from_dict({"id": ids, "text": WORDS})
            media = datasets.Dataset.from_dict({"id": ids, **corpus})
            if modality == "image":
                media = media.cast_column("image", datasets.Image())
            right = {one: {one: 1} for one in ids}
            split = {
                "queries": queries,
                "corpus": media,
                "relevant_docs": right,
                "top_ranked": None,
            }
            self.dataset = {"default": {"test": split}}
            self.data_loaded = True

    return Local()


def ours(embedder: Embedder, **media: list[Any]) -> dict[str, float]:
    ((kind, sources),) = media.items()
    rows: list[Row] = [
        PairRow(f"r:{i}", text=words, **{kind: source})
        for i, (words, source) in enumerate(zip(WORDS, sources, strict=True))
    ]
    task = make_task("retrieval", at=[1, 5, 10])
    return {name: one.value for name, one in task.score(task.predict(embedder, rows)).items()}


@pytest.mark.parametrize("modality", ["image", "audio"])
def test_mteb_scores_as_we_do(embedder: Embedder, modality: str) -> None:
    if modality == "image":
        sources: list[Any] = pictures()
        corpus: dict[str, list[Any]] = {"image": sources}
    else:
        sources = [(tone, 16_000) for tone in tones()]
        corpus = {"audio": [{"array": tone.tolist(), "sampling_rate": 16_000} for tone in tones()]}
    result = mteb.evaluate(
        MtebEncoder(embedder), local_task(corpus, modality), cache=None, show_progress_bar=False
    )
    (found,) = result.task_results[0].scores["test"]
    own = ours(embedder, **{modality: sources})
    for k in (1, 5, 10):
        expected = own[f"text_to_{modality}/recall@{k}"]
        assert found[f"recall_at_{k}"] == pytest.approx(expected, abs=6e-6)  # MTEB rounds


def test_it_is_an_encoder_to_mteb(embedder: Embedder) -> None:
    from mteb.models import EncoderProtocol

    encoder = MtebEncoder(embedder)
    assert isinstance(encoder, EncoderProtocol)
    assert encoder.mteb_model_meta.name == "unisono/tiny"
    assert encoder.mteb_model_meta.modalities == ["text", "image", "audio"]
    vectors = embedder.embed(text=["a", "b", "c"])
    assert np.allclose(encoder.similarity(vectors, vectors).diagonal(), 1, atol=1e-5)
    pairs = encoder.similarity_pairwise(vectors, vectors[::-1].copy())
    assert np.allclose(pairs, (vectors * vectors[::-1]).sum(1), atol=1e-6)


def test_inputs_of_no_modality_are_refused(embedder: Embedder, tmp_path: Path) -> None:
    from torch.utils.data import DataLoader

    loader: Any = DataLoader(datasets.Dataset.from_dict({"smell": ["rose"]}))
    with pytest.raises(UnsupportedModalityError, match="but have smell"):
        MtebEncoder(embedder).encode(loader, task_metadata=None, hf_split="", hf_subset="")
