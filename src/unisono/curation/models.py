"""The models of the pipeline by name, each with a fingerprint that is known before it is loaded."""

import hashlib
import json
from functools import partial

import torch

from unisono.curation.label import Classifiers
from unisono.curation.relevance import Rival
from unisono.curation.stage import Model
from unisono.curation.text_filters import Likelihood
from unisono.evaluation.fingerprint import model_fingerprint
from unisono.hub import fetch_part, load_catalog
from unisono.runtime import Assistant, Embedder, load_assistant, load_embedder
from unisono.speech import Listener, WhisperListener


def listener_model(name: str) -> Model[Listener]:
    """A listener of the catalog; one thread, as all workers.

    Raises:
        UnknownModelError: there is no such part.
    """
    part = load_catalog().part(name)
    digest = hashlib.sha256(json.dumps([file.sha256 for file in part.files]).encode())
    return Model(name, digest.hexdigest()[:16], partial(_listener, name))


def embedder_model(name: str) -> Model[Embedder]:
    """A representation model by name or folder."""
    return Model(name, model_fingerprint(name), partial(load_embedder, name))


def classifiers_of(embedder: Model[Embedder]) -> Model[Classifiers]:
    """Zero-shot classifiers over a representation model."""
    return Model(f"{embedder.name} labels", embedder.fingerprint, partial(Classifiers, embedder))


def rival_of(embedder: Model[Embedder]) -> Model[Rival]:
    """Other sentences, embedded by a representation model."""
    return Model(f"{embedder.name} sentences", embedder.fingerprint, partial(Rival, embedder))


def assistant_model(name: str) -> Model[Assistant]:
    """A model that answers, by name or folder."""
    return Model(name, model_fingerprint(name), partial(load_assistant, name))


def likelihood_of(assistant: Model[Assistant]) -> Model[Likelihood]:
    """The language model of an assistant, as a judge of texts."""
    make = partial(LanguageModel, assistant)
    return Model(f"{assistant.name} likelihood", assistant.fingerprint, make)


class LanguageModel:
    """How likely texts are to an assistant's language model, token by token."""

    def __init__(self, assistant: Model[Assistant]) -> None:
        reader = assistant.get().reader
        self._engine, self._tokenizer = reader.engine, reader.processor.tokenizer

    @torch.inference_mode()
    def nll(self, text: str) -> tuple[float, int]:
        """See `Likelihood.nll`; a token that ends texts stands before the first one."""
        ids = self._tokenizer(text, add_special_tokens=False, split_special_tokens=True).input_ids
        ids = list(ids)[: self._engine.context_length - 1]
        cache = self._engine.new_cache()
        logits = self._engine.read(self._engine.embed([min(self._engine.stop_ids)]), cache)
        total = 0.0
        for token in ids:
            total -= float(torch.log_softmax(logits.float(), dim=-1)[token])
            logits = self._engine.step(token, cache)
        return total, len(ids)


def _listener(name: str) -> Listener:
    return WhisperListener(fetch_part(name), threads=1)
