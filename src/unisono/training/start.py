"""What a stage begins with: a model with its weights, and its processor."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedConfig,
)

from unisono.engines.gguf_file import load_tokenizer, prepare
from unisono.errors import MissingExtraError, RecipeError, UnisonoError
from unisono.hub import default_cache_folder, fetch_part, load_catalog
from unisono.models import (
    OlaConfig,
    OlaForConditionalGeneration,
    OlaProcessor,
    OnePeaceConfig,
    OnePeaceProcessor,
)
from unisono.models.byte_tokenizer import chat_byte_tokenizer, onepeace_byte_tokenizer
from unisono.models.loading import StrictlyLoadedModel
from unisono.models.ola.lora import lora_targets
from unisono.models.onepeace.branch import OnePeaceSoundModel, OnePeaceVisionModel
from unisono.models.onepeace.branch_config import (
    OnePeaceSoundConfig,
    OnePeaceVisionConfig,
    differences,
)
from unisono.models.whisper_weights import whisper_encoder_weights
from unisono.runtime.load_catalog import make_as_shipped, shipped
from unisono.training.model_config import (
    DENSE_HEADS,
    catalog_entry,
    chosen_targets,
    empty_model,
    model_class,
    model_config,
)
from unisono.training.parts import check_parts, part_of, parts_of
from unisono.training.recipe import LoraSettings, ModelSettings
from unisono.training.start_head import with_head

Processor = OlaProcessor | OnePeaceProcessor | None
"""A dense model has none."""

_MODULES = {
    "vision": "encoders.vision",
    "speech_encoder": "encoders.hearing.speech",
    "sound_encoder": "encoders.hearing.sound",
    "language_model": "language_model",
}
"""Parts whose weights may come from a model of their own -> where they are in Ola."""


@dataclass(frozen=True)
class Started:
    """A model in float32 in training mode, and what encodes rows for it."""

    model: nn.Module
    processor: Processor


def begin(
    settings: ModelSettings,
    *,
    changes: Mapping[str, Any] | None = None,
    folder: str | None = None,
    labels: Sequence[str] | None = None,
    seed: int = 0,
) -> Started:
    """Make or load the model of a stage.

    Args:
        settings: of the recipe.
        changes: fields of the config that the stage changes.
        folder: the end of an earlier stage, or weights the stage names; None for the beginning.
        labels: that a head chooses from.
        seed: of random weights.

    Raises:
        RecipeError: config, weights and parts do not fit each other.
        HubError, ModelConfigError: a part cannot be had, or does not fit.
        MissingExtraError: an adapter is wanted, but peft is not installed.
    """
    config = model_config(settings, changes, folder, labels=labels, download=True)
    torch.manual_seed(seed)
    if folder is None:
        check_sources(settings, parts_of(empty_model(config, settings.family, settings.head)))
    model = _model(settings, config, folder)
    processor = _processor(settings, config, folder)
    adapted = model if settings.lora is None else with_adapter(model, settings.lora)
    return Started(adapted.train(), processor)


def _model(settings: ModelSettings, config: PreTrainedConfig, folder: str | None) -> nn.Module:
    if folder is not None:
        return _loaded(folder, config, settings, ())
    entry = None if settings.source is None else catalog_entry(settings.source)
    if entry is None and settings.source is not None:
        return _loaded(settings.source, config, settings, settings.new_parts)
    if entry is not None and entry.kind == "onepeace":
        with shipped(entry) as place:
            return _loaded(str(place), config, settings, settings.new_parts)
    model = _composed(settings, config)
    if entry is not None and goes_on(settings):
        with shipped(entry) as place:
            make_as_shipped(cast(OlaForConditionalGeneration, model), entry, place)
    return model


def check_sources(settings: ModelSettings, known: Collection[str]) -> None:
    """Every part of a model must have weights, or be named as new.

    Raises:
        RecipeError: one has not, or a name is no part.
    """
    check_parts(known, settings.new_parts, "model.new_parts")
    check_parts([part for part in known if part in _MODULES], settings.parts, "model.parts")
    if settings.source is None or not catalog_entry(settings.source) or goes_on(settings):
        return
    without = set(known) - set(part_sources(settings)) - set(settings.new_parts)
    if without:
        raise RecipeError(
            f"model.source {settings.source!r} has no weights for {', '.join(sorted(without))}: "
            "name them in model.new_parts, or their weights in model.parts"
        )


def goes_on(settings: ModelSettings) -> bool:
    """Whether a model of the catalog is trained further as it is, with what the package ships.

    A recipe that gives it other parts, or new ones, composes it anew from its language model.
    """
    return settings.source is not None and not settings.parts and not settings.new_parts


def part_sources(settings: ModelSettings) -> dict[str, str]:
    """Part -> what its weights come from, if not from the source itself."""
    entry = None if settings.source is None else catalog_entry(settings.source)
    ours = {part: name for part, name in (entry.parts if entry else {}).items() if part in _MODULES}
    return ours | settings.parts


def with_adapter(model: nn.Module, settings: LoraSettings) -> nn.Module:
    """The model with a fresh LoRA adapter on its language model (a `PeftModel`).

    Raises:
        MissingExtraError: peft is not installed.
        RecipeError: there is no linear layer of a name.
    """
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise MissingExtraError("peft", "train") from error
    ola = cast(OlaForConditionalGeneration, model)
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=chosen_targets(lora_targets(ola), settings),
    )
    adapted: nn.Module = get_peft_model(cast(Any, ola), config)
    return adapted


def _composed(settings: ModelSettings, config: PreTrainedConfig) -> nn.Module:
    """Random weights, and over them those that parts are given."""
    model = model_class(settings.family, settings.head)(config)
    for part, source in part_sources(settings).items():
        weights = _part_weights(part, source, config)
        try:
            model.get_submodule(_MODULES[part]).load_state_dict(weights)
        except RuntimeError as error:
            reason = " ".join(str(error).split())
            raise RecipeError(f"model.parts.{part} ({source}) does not fit: {reason}") from error
    return model


def _part_weights(part: str, source: str, config: PreTrainedConfig) -> Mapping[str, torch.Tensor]:
    own = _own_config(part, cast(OlaConfig, config))
    try:
        if part == "language_model":
            return _state(_language_model(source, own))
        if part == "speech_encoder" and source in load_catalog().parts:
            return whisper_encoder_weights(own, source)
        if isinstance(own, OnePeaceVisionConfig | OnePeaceSoundConfig):
            return _state(_branch(part, source, own))
        model = AutoModel.from_pretrained(source, dtype=torch.float32)
    except UnisonoError:
        raise
    except (OSError, ValueError) as error:
        raise RecipeError(
            f"model.parts.{part}: no weights can be read from {source!r}: "
            f"{str(error).splitlines()[0]}"
        ) from error
    # Whisper and its like come with a decoder.
    encoder = getattr(model, "encoder", model) if part == "speech_encoder" else model
    return _state(encoder)


def _branch(part: str, source: str, config: OnePeaceVisionConfig | OnePeaceSoundConfig) -> Any:
    """A branch, saved alone or taken out of a whole ONE-PEACE; its grid becomes the config's."""
    branch: Any
    if AutoConfig.from_pretrained(source).model_type == config.model_type:
        branch = AutoModel.from_pretrained(source, dtype=torch.float32)
    elif isinstance(config, OnePeaceSoundConfig):
        branch = OnePeaceSoundModel.from_onepeace(source)
    else:
        grid = config.image_config.position_grid
        branch = OnePeaceVisionModel.from_onepeace(source, grid=grid)
    for name, (wanted, found) in sorted(differences(config, branch.config).items()):
        raise RecipeError(
            f"model.parts.{part} ({source}) does not fit: its {name} is {found}, but model.config "
            f"has {wanted}"
        )
    return branch


def _state(model: Any) -> Mapping[str, torch.Tensor]:
    return cast(Mapping[str, torch.Tensor], model.state_dict())


def _own_config(part: str, config: OlaConfig) -> Any:
    names = {"language_model": "text_config", "vision": "vision_config"}
    return getattr(config, names.get(part, part.replace("_encoder", "_config")))


def _language_model(source: str, config: Any) -> Any:
    """From a folder or hub, or a GGUF file of the catalog, whose numbers become float32."""
    if source not in load_catalog().parts:
        return AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
    file = fetch_part(source) / load_catalog().part(source).files[0].name
    return AutoModelForCausalLM.from_pretrained(
        file.parent, config=config, gguf_file=file.name, dtype=torch.float32
    )


def _loaded(
    source: str, config: PreTrainedConfig, settings: ModelSettings, new_parts: tuple[str, ...]
) -> nn.Module:
    """All weights of a folder; of the new parts and a new head, random ones."""
    kind = model_class(settings.family, settings.head)
    fields, _ = PreTrainedConfig.get_config_dict(source)
    if settings.head is not None and kind.__name__ not in (fields.get("architectures") or ()):
        return with_head(source, config, kind)
    whole = settings.family == "onepeace" and settings.head not in DENSE_HEADS
    if whole and _is_reshaped(fields, cast(OnePeaceConfig, config)):
        return with_head(source, config, kind)
    try:
        if not new_parts:
            return cast(nn.Module, kind.from_pretrained(source, config=config, dtype=torch.float32))
        # Past `StrictlyLoadedModel`, which would refuse what is new.
        model, info = super(StrictlyLoadedModel, kind).from_pretrained(  # type: ignore[misc]
            source, config=config, dtype=torch.float32, output_loading_info=True
        )
    except (OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise RecipeError(f"no model can be read from {source!r}: {reason}") from error
    if lacking := sorted({part_of(key) for key in info["missing_keys"]} - {"", *new_parts}):
        raise RecipeError(
            f"model.source {source!r} has no weights for {', '.join(lacking)}: name them in "
            "model.new_parts"
        )
    return cast(nn.Module, model)


def _is_reshaped(had: Mapping[str, Any], config: OnePeaceConfig) -> bool:
    """Whether relative tables are to be copied to every layer, or resampled."""
    image = had.get("image_config") or {}
    wanted = config.image_config
    grid = wanted is not None and image.get("bias_grid", 16) != wanted.bias_grid
    return grid or (config.bias_per_layer and not had.get("bias_per_layer"))


def _processor(settings: ModelSettings, config: PreTrainedConfig, folder: str | None) -> Processor:
    if settings.head in DENSE_HEADS:
        return None
    if settings.family == "ola":
        return OlaProcessor(_tokenizer(settings, folder), cast(OlaConfig, config))
    own = cast(OnePeaceConfig, config)
    tokenizer = None if own.text_config is None else _tokenizer(settings, folder)
    return OnePeaceProcessor.from_config(tokenizer, own, **settings.processor)


def _tokenizer(settings: ModelSettings, folder: str | None) -> Any:
    sources = part_sources(settings)
    name = settings.tokenizer or sources.get("language_model") or settings.source
    if folder is not None:
        name = folder  # it was saved with the weights
    if name is None:
        raise RecipeError("model.tokenizer must be given for a model without a source")
    if name == "bytes":
        return chat_byte_tokenizer() if settings.family == "ola" else onepeace_byte_tokenizer()
    if name in load_catalog().parts:
        return _catalog_tokenizer(name)
    try:
        return AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise RecipeError(f"no tokenizer can be read from {name!r}: {reason}") from error


def _catalog_tokenizer(name: str) -> Any:
    file = load_catalog().part(name).files[0]
    derived = default_cache_folder() / "derived" / file.sha256[:16]
    prepare(fetch_part(name) / file.name, derived)
    return load_tokenizer(derived)
