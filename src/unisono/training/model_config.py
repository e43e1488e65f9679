"""The config of the model a recipe speaks of, without any weights."""

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from huggingface_hub.errors import StrictDataclassError
from torch import nn
from transformers import CONFIG_MAPPING, PreTrainedConfig

from unisono.errors import RecipeError, UnisonoError
from unisono.hub import ModelEntry, load_catalog
from unisono.models import OlaConfig, OlaForConditionalGeneration, OnePeaceConfig
from unisono.models.loading import StrictlyLoadedModel
from unisono.models.onepeace import (
    OnePeaceForClassification,
    OnePeaceForGrounding,
    OnePeaceForPretraining,
    OnePeaceForRanking,
)
from unisono.models.onepeace.dense import (
    OnePeaceForDetection,
    OnePeaceForSegmentation,
    OnePeaceForVideoClassification,
)
from unisono.models.onepeace.dense.base import OnePeaceDenseModel
from unisono.runtime.load_catalog import shipped
from unisono.training.recipe import LoraSettings, ModelSettings

Fields = Mapping[str, Any]

CONFIGS: dict[str, type[PreTrainedConfig]] = {"ola": OlaConfig, "onepeace": OnePeaceConfig}
MODELS: dict[str, type[StrictlyLoadedModel]] = {
    "ola": OlaForConditionalGeneration,
    "onepeace": OnePeaceForPretraining,
}

DENSE_HEADS: dict[str, type[OnePeaceDenseModel]] = {
    "segmentation": OnePeaceForSegmentation,
    "detection": OnePeaceForDetection,
    "video_classification": OnePeaceForVideoClassification,
}
"""Heads of models of their own, with a config around the encoder's."""

DENSE_CONFIGS = tuple(one.config_class for one in DENSE_HEADS.values())

HEADS: dict[str, type[StrictlyLoadedModel]] = {
    **DENSE_HEADS,
    "classification": OnePeaceForClassification,
    "grounding": OnePeaceForGrounding,
    "ranking": OnePeaceForRanking,
}


def config_class(settings: ModelSettings) -> type[PreTrainedConfig]:
    """Of what a recipe trains."""
    if settings.head in DENSE_HEADS:
        return cast(type[PreTrainedConfig], DENSE_HEADS[settings.head].config_class)
    return CONFIGS[settings.family]


def model_class(family: str, head: str | None = None) -> type[StrictlyLoadedModel]:
    """What a recipe trains."""
    return MODELS[family] if head is None else HEADS[head]


class SourceMissingError(RecipeError):
    """The model a recipe starts from is not on this machine, so its sizes are not known."""


def catalog_entry(source: str) -> ModelEntry | None:
    """The model of the catalog that a recipe starts from; None if it is a folder or hub name."""
    return None if Path(source).exists() else load_catalog().models.get(source)


def model_config(
    settings: ModelSettings,
    changes: Fields | None = None,
    folder: str | None = None,
    *,
    labels: Sequence[str] | None = None,
    download: bool = False,
) -> PreTrainedConfig:
    """What the recipe says the model is.

    Args:
        settings: of the recipe.
        changes: fields that a stage changes.
        folder: of the weights that are at hand, in place of the recipe's source.
        labels: that a head chooses from; None leaves what the config says.
        download: ask a model hub for a source that is not on this machine.

    Raises:
        SourceMissingError: there is no such source.
        RecipeError: the fields are unknown, or contradict each other.
    """
    kind = config_class(settings)
    source = folder or settings.source
    fields = {} if source is None else _source_fields(source, kind, download)
    given = dict(settings.config) if folder is None else {}
    for where, own in (("model.config", given), ("a stage's model", dict(changes or {}))):
        _check_fields(own, kind(), where)
        fields = laid_over(fields, own)
    if settings.head in DENSE_HEADS:
        fields |= _label_fields(labels)
    elif settings.head is not None:
        fields |= {"decoder_config": None, "head_config": fields.get("head_config") or {}}
        fields |= _label_fields(labels)
    elif settings.family == "onepeace" and fields.get("decoder_config") is None:
        fields["decoder_config"] = {}  # training needs one
    try:
        return kind.from_dict(fields)
    except (UnisonoError, StrictDataclassError, ValueError, TypeError, KeyError) as error:
        raise RecipeError(f"model.config: {' '.join(str(error).split())}") from error


def _label_fields(labels: Sequence[str] | None) -> dict[str, Any]:
    if labels is None:
        return {}
    return {
        "id2label": dict(enumerate(labels)),
        "label2id": {label: place for place, label in enumerate(labels)},
    }


def empty_model(config: PreTrainedConfig, family: str, head: str | None = None) -> nn.Module:
    """The model without memory for its weights.

    Raises:
        RecipeError: no model has such a config.
    """
    try:
        with torch.device("meta"):
            return model_class(family, head)(config)
    except (UnisonoError, ValueError, TypeError, RuntimeError) as error:
        raise RecipeError(f"model.config: {' '.join(str(error).split())}") from error


def adapter_size(model: nn.Module, settings: LoraSettings) -> int:
    """Parameters of an adapter: rank x (inputs + outputs) of every adapted layer."""
    from unisono.models.ola.lora import lora_targets

    names = chosen_targets(lora_targets(cast(OlaForConditionalGeneration, model)), settings)
    layers = [cast(nn.Linear, model.get_submodule(name)) for name in names]
    return sum(settings.rank * (one.in_features + one.out_features) for one in layers)


def chosen_targets(known: list[str], settings: LoraSettings) -> list[str]:
    """Of a language model's linear layers those that a recipe names by their last name.

    Raises:
        RecipeError: there is none of a name.
    """
    if settings.targets is None:
        return known
    last = {name.rpartition(".")[2] for name in known}
    if unknown := sorted(set(settings.targets) - last):
        raise RecipeError(
            f"model.lora.targets names {', '.join(unknown)}, but the language model's linear "
            f"layers are {', '.join(sorted(last))}"
        )
    return [name for name in known if name.rpartition(".")[2] in settings.targets]


def _source_fields(source: str, kind: type[PreTrainedConfig], download: bool) -> dict[str, Any]:
    entry = catalog_entry(source)
    try:
        if entry is not None:
            with shipped(entry) as folder:
                return _config_from(str(folder), kind)
        if not Path(source).is_dir() and source.count("/") != 1:
            raise OSError("there is no such folder")
        return _config_from(source, kind, local_files_only=not download)
    except (OSError, ValueError) as error:
        raise SourceMissingError(
            f"model.source {source!r} must be a folder, a hub name or a model of the catalog, but "
            f"no model can be read there: {str(error).splitlines()[0]}"
        ) from error


def _config_from(name: str, kind: type[PreTrainedConfig], **options: Any) -> dict[str, Any]:
    fields, _ = kind.get_config_dict(name, **options)
    own = fields.get("model_type")
    if own == OnePeaceConfig.model_type and issubclass(kind, DENSE_CONFIGS):
        branch = kind.sub_configs_defaults["vision_config"].config_class
        return {"vision_config": branch.of(OnePeaceConfig.from_dict(fields)).to_dict()}
    if not fields:
        raise OSError(f"there is no config.json in '{name}'")
    if own != kind.model_type:
        raise RecipeError(
            f"model.source {name!r} must be a model of type {kind.model_type!r}, but is of type "
            f"{own!r} instead"
        )
    plain: dict[str, Any] = kind.from_dict(fields).to_dict()
    return plain


def laid_over(base: Fields, over: Fields) -> dict[str, Any]:
    """Nested configs are merged, unless they become of another type."""
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        merged[key] = value
        if isinstance(old, dict) and isinstance(value, dict):
            kind = old.get("model_type")
            merged[key] = laid_over(old, value) if value.get("model_type", kind) == kind else value
    return merged


def _check_fields(fields: Fields, example: Any, where: str) -> None:
    """Every key must be a field: transformers would keep unknown ones and use none of them."""
    for key, value in fields.items():
        if key != "model_type" and not hasattr(example, key):
            names = [name for name in vars(example) if not name.startswith("_")]
            near = difflib.get_close_matches(key, names, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise RecipeError(f"{where}.{key} is no field of {type(example).__name__}{hint}")
        if isinstance(value, dict) and key.endswith("_config"):
            _check_fields(value, _nested_example(value, example, key, where), f"{where}.{key}")


def _nested_example(fields: Fields, outer: Any, key: str, where: str) -> Any:
    """A config of the kind that stands there, with default values."""
    kind = fields.get("model_type")
    if kind is None:
        found = getattr(outer, key, None) or _declared(outer, key)
        if found is None:
            raise RecipeError(f"{where}.{key}.model_type is missing")
        return found
    if kind not in CONFIG_MAPPING:
        raise RecipeError(f"{where}.{key}.model_type {kind!r} is no model that transformers knows")
    return CONFIG_MAPPING[kind]()


def _declared(outer: Any, key: str) -> Any:
    """The default of a nested config that is off by default."""
    spec = getattr(outer, "sub_configs_defaults", {}).get(key)
    kind = getattr(spec, "model_type", None)
    if kind in CONFIG_MAPPING:
        return CONFIG_MAPPING[kind]()
    own = getattr(spec, "config_class", None)
    return own() if isinstance(own, type) and issubclass(own, PreTrainedConfig) else None
