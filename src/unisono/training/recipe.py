"""What a recipe may say: every field with its meaning; unknown keys are errors.

Only the form is checked here. Whether parts, files and shapes fit each other is seen when the run
is prepared, before its first step.
"""

from typing import Annotated, Any, Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from unisono.manifests.datasets import FORMATS
from unisono.training.goals import (
    AudioSpectrum,
    ConnectorCells,
    ConnectorCtc,
    Contrastive,
    DenseSettings,
    NextToken,
    ObjectiveSettings,
    Settings,
    TaskSettings,
)

Strategy = Literal["progressive", "direct_mixing", "balanced_sampling"]
Precision = Literal["fp32", "bf16", "fp16"]
Distribution = Literal["auto", "ddp", "fsdp"]
Share = Annotated[float, Field(ge=0.0, le=1.0)]


class LoraSettings(Settings):
    """An adapter on the language model instead of its own weights (arXiv 2106.09685).

    Attributes:
        rank, alpha, dropout: as in PEFT.
        targets: names of linear layers; None for all of the language model's.
    """

    rank: PositiveInt = 16
    alpha: PositiveFloat = 32.0
    dropout: Share = 0.05
    targets: tuple[str, ...] | None = None


Head = Literal[
    "classification", "grounding", "ranking", "segmentation", "detection", "video_classification"
]


class ModelSettings(Settings):
    """What is trained.

    Attributes:
        family: which classes.
        source: a folder, hub name or catalog name to start from; None for random weights.
        head: what is put on a ONE-PEACE encoder for a task; None for pretraining and retrieval.
            Its weights begin at random, unless the source has such a head already.
        config: fields of the model's config. With a source, they change it; parts of the model
            that the source has no weights for begin at random only if `new_parts` names them.
        parts: part -> a folder, hub name or part of the catalog that its weights come from, in
            place of random ones.
        new_parts: parts that begin at random though there is a source.
        tokenizer: a folder ("{data_dir}/…" for one among the data) or hub name; "bytes" for one
            that needs no file; None for the source's, or that of the part `language_model`.
        processor: options of the processor (ONE-PEACE: `clean_text`, say).
        lora: train an adapter on the language model.
    """

    family: Literal["ola", "onepeace"]
    head: Head | None = None
    source: str | None = None
    config: dict[str, Any] = Field(default_factory=dict)
    parts: dict[str, str] = Field(default_factory=dict)
    new_parts: tuple[str, ...] = ()
    tokenizer: str | None = None
    processor: dict[str, Any] = Field(default_factory=dict)
    lora: LoraSettings | None = None

    @model_validator(mode="after")
    def _family_has_it(self) -> "ModelSettings":
        if self.family == "onepeace" and self.lora is not None:
            raise ValueError("lora adapts a language model, which family onepeace does not have")
        if self.family == "ola" and self.processor:
            raise ValueError("processor has no options for family ola: they are in its config")
        if self.family == "ola" and self.head is not None:
            raise ValueError("head is of ONE-PEACE models, which family ola is not")
        return self


class SourceSettings(Settings):
    """Where rows come from.

    Attributes:
        path: a manifest or several (JSONL, LLaVA JSON, WebDataset tar, Parquet); globs are allowed.
            Relative to the recipe's `data_dir`.
        format: of a data set in its published layout, one of `manifests.datasets.FORMATS`; `path`
            is its folder or index file then. None for a manifest.
        options: of the format, as `{split: train}`.
        media: folder that the rows' own paths are relative to; None for the manifest's folder.
        streaming: read shards in order instead of by index; None lets the file type decide.
        modality: what `balanced_sampling` counts the source as; None lets the first rows tell.
        rows: how many there are said to be; the plan counts with them where the files are not
            at hand.
    """

    path: str | tuple[str, ...]
    format: str | None = None
    options: dict[str, str] | None = None
    media: str | None = None
    streaming: bool | None = None
    modality: str | None = None
    rows: PositiveInt | None = None

    @model_validator(mode="after")
    def _known_format(self) -> "SourceSettings":
        if self.format is None and self.options:
            raise ValueError("options are a format's, but there is no format")
        if self.format is not None and self.format not in FORMATS:
            raise ValueError(f"format must be one of {', '.join(FORMATS)}, not {self.format!r}")
        if self.format is not None and not isinstance(self.path, str):
            raise ValueError("a source with a format must have one path")
        return self


class Length(Settings):
    """How long a stage is: exactly one of these.

    Attributes:
        steps: optimizer steps.
        samples: rows drawn, of all ranks.
        tokens: read by the model, of all ranks, padding excluded.
        epochs: rows drawn = epochs x rows of all its sources.
    """

    steps: PositiveInt | None = None
    samples: PositiveInt | None = None
    tokens: PositiveInt | None = None
    epochs: PositiveFloat | None = None

    @model_validator(mode="after")
    def _one_of_them(self) -> "Length":
        given = [n for n in ("steps", "samples", "tokens", "epochs") if getattr(self, n)]
        if len(given) != 1:
            raise ValueError(f"one of steps, samples, tokens, epochs must be given, not {given}")
        return self


class BatchSettings(Settings):
    """Micro-batches of one rank.

    Attributes:
        tokens: budget of a micro-batch, padding included.
        samples: rows of a micro-batch; with `tokens`, at most so many. A contrast needs it, and
            has exactly so many.
        accumulate: micro-batches of an optimizer step.
        group: rows of like length and kind go together.
        pool: micro-batches' worth of rows that are read ahead to be grouped.
        workers: threads that open media.
        ahead: micro-batches kept ready.
        cache_gb: disk for features of frozen encoders; 0 for none.
    """

    tokens: PositiveInt | None = None
    samples: PositiveInt | None = None
    accumulate: PositiveInt = 1
    group: bool = True
    pool: PositiveInt = 16
    workers: PositiveInt = 2
    ahead: PositiveInt = 2
    cache_gb: Annotated[float, Field(ge=0.0)] = 0.0

    @model_validator(mode="after")
    def _some_size(self) -> "BatchSettings":
        if self.tokens is None and self.samples is None:
            raise ValueError("tokens or samples must be given")
        return self


class OptimizerSettings(Settings):
    """AdamW and its schedule.

    Attributes:
        lr: at its peak.
        betas, eps, weight_decay: as usual. Biases, norms, positions and single vectors ([CLS],
            newlines, LayerScale) never decay.
        lr_factors: part -> factor of `lr`; see `parts`.
        layer_decay: factor of `lr` per layer below what stands on top (norms, projections, heads);
            embeddings are one layer below the first. 1 for none.
        clip_norm: largest norm of all gradients together; None for no limit.
        schedule: from the peak on.
        warmup_steps: linear from zero; or
        warmup_ratio: of the stage.
        floor_lr: where the schedule ends; or
        floor_ratio: of `lr`.
        ema: decay of an average of the weights; None for none.
    """

    lr: PositiveFloat
    betas: tuple[Share, Share] = (0.9, 0.999)
    eps: PositiveFloat = 1e-8
    weight_decay: Annotated[float, Field(ge=0.0)] = 0.0
    lr_factors: dict[str, Annotated[float, Field(ge=0.0)]] = Field(default_factory=dict)
    layer_decay: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    clip_norm: PositiveFloat | None = 1.0
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    warmup_ratio: Share = 0.0
    floor_lr: Annotated[float, Field(ge=0.0)] = 0.0
    floor_ratio: Share = 0.0
    ema: Annotated[float, Field(gt=0.0, lt=1.0)] | None = None

    @model_validator(mode="after")
    def _said_once(self) -> "OptimizerSettings":
        for one, other in (("warmup_steps", "warmup_ratio"), ("floor_lr", "floor_ratio")):
            if getattr(self, one) and getattr(self, other):
                raise ValueError(f"only one of {one} and {other} may be given")
        if self.floor_lr > self.lr:
            raise ValueError(f"floor_lr must be at most lr ({self.lr}), but is {self.floor_lr}")
        return self


class StageSettings(Settings):
    """One stage of training.

    Attributes:
        name: of its folder.
        starts_from: a folder of weights; None for the end of the stage before.
        objective: what is learned.
        mixture: source -> weight; a row's source is drawn in these proportions.
        trainable: parts that train; all others are frozen; see `parts`.
        length: when it ends.
        batch: sizes of batches.
        optimizer: AdamW and its schedule.
        model: fields of the model's config that this stage changes (drop-path, say).
        reset: parameters set back to their initial value before the stage (the logit scale).
        begin_as: modality -> another one; before the stage it takes over what the encoder's layers
            and norms have learned for the other.
        our_choice: dotted keys of this stage that no source states, so that we chose them.
    """

    name: str = Field(pattern=r"^[\w.-]+$")
    starts_from: str | None = None
    objective: ObjectiveSettings
    mixture: dict[str, PositiveFloat] = Field(min_length=1)
    trainable: tuple[str, ...] = Field(min_length=1)
    length: Length
    batch: BatchSettings
    optimizer: OptimizerSettings
    model: dict[str, Any] = Field(default_factory=dict)
    reset: tuple[Literal["logit_scale"], ...] = ()
    begin_as: dict[str, str] = Field(default_factory=dict)
    our_choice: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _whole_batches(self) -> "StageSettings":
        if isinstance(self.objective, Contrastive) and self.batch.samples is None:
            raise ValueError("a contrast needs batch.samples: all ranks have as many pairs")
        return self


class CheckpointSettings(Settings):
    """When a run is saved, to be resumed.

    Attributes:
        every_s: seconds between checkpoints; None for none by time.
        every_steps: steps between checkpoints; None for none by steps.
        keep: how many are kept of a stage.
    """

    every_s: PositiveFloat | None = 300.0
    every_steps: PositiveInt | None = None
    keep: PositiveInt = 2


class GuardSettings(Settings):
    """When a run stops by itself.

    Attributes:
        bad_rows: share of rows that may be of no use, once 100 were drawn.
        nan_steps: steps in a row whose loss or gradients are no number; each is skipped.
        loss_factor: the running mean of the loss over its best so far; None for no limit.
    """

    bad_rows: Share = 0.01
    nan_steps: PositiveInt = 3
    loss_factor: PositiveFloat | None = 4.0


class LogSettings(Settings):
    """Who is told how it goes, besides the journal (JSONL) and the curves (PNG).

    Attributes:
        every_steps: steps between lines of the journal.
        trackers: of accelerate's; each needs its package.
    """

    every_steps: PositiveInt = 1
    trackers: tuple[Literal["tensorboard", "wandb", "trackio"], ...] = ()


class Recipe(Settings):
    """A run: what is trained on what, how, in which stages.

    Attributes:
        title: one line for people.
        model: what is trained.
        data: what makes the data, where they are not there: `unisono train` sees to it.
        data_dir: what the sources' paths are relative to, itself relative to the working
            directory; None for the recipe's folder.
        sources: data by name.
        stages: in their order.
        strategy: how the stages' sources are mixed; see `strategies`.
        seed: of everything that is drawn.
        out: the run's folder, relative to the working directory.
        ranks: processes that the sizes of batches are meant for; the plan counts with them.
        precision: of the forward pass; weights stay fp32.
        gradient_checkpointing: recompute activations.
        distribution: "auto" is DDP on several ranks.
        checkpoints, guards, log: as their classes say.
    """

    title: str = ""
    model: ModelSettings
    data: Literal["picturebook"] | None = None
    data_dir: str | None = None
    sources: dict[str, SourceSettings] = Field(min_length=1)
    stages: tuple[StageSettings, ...] = Field(min_length=1)
    strategy: Strategy = "progressive"
    seed: Annotated[int, Field(ge=0)] = 0
    out: str
    ranks: PositiveInt = 1
    precision: Precision = "fp32"
    gradient_checkpointing: bool = False
    distribution: Distribution = "auto"
    checkpoints: CheckpointSettings = CheckpointSettings()
    guards: GuardSettings = GuardSettings()
    log: LogSettings = LogSettings()

    @model_validator(mode="after")
    def _consistent(self) -> "Recipe":
        names = [stage.name for stage in self.stages]
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"stages must have different names, but {repeated} is there twice")
        for stage in self.stages:
            _check_objective(self.model, stage)
            if unknown := sorted(set(stage.mixture) - set(self.sources)):
                raise ValueError(
                    f"the mixture of stage {stage.name} names {unknown}, which must be among the "
                    f"sources {sorted(self.sources)}"
                )
        return self


def _check_objective(model: ModelSettings, stage: StageSettings) -> None:
    kind = stage.objective.kind
    fitting: str
    if model.head is not None:
        fitting, fits = model.head, kind == model.head
    elif model.family == "onepeace":
        fitting = "onepeace or audio_spectrum"
        fits = isinstance(stage.objective, Contrastive | AudioSpectrum)
    else:
        fitting = "next_token, connector_ctc or connector_cells"
        fits = isinstance(stage.objective, NextToken | ConnectorCtc | ConnectorCells)
    if not fits:
        what = f"a model with head {model.head}" if model.head else f"family {model.family}"
        raise ValueError(
            f"the objective of stage {stage.name} must be {fitting} for {what}, but is {kind} "
            "instead" + (f": model.head must be {kind}" if _needs_head(stage) else "")
        )


def _needs_head(stage: StageSettings) -> bool:
    return isinstance(stage.objective, TaskSettings | DenseSettings)
