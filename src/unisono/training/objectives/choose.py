"""From a stage's settings to its objective."""

from collections.abc import Iterable, Sequence

from transformers import PreTrainedConfig

from unisono.errors import RecipeError
from unisono.manifests import Row
from unisono.models.ola.processor import OlaProcessor
from unisono.models.onepeace.processor import OnePeaceProcessor
from unisono.training.feature_cache import EncoderCache
from unisono.training.goals import AudioSpectrum as AudioSpectrumSettings
from unisono.training.goals import ConnectorCells as ConnectorCellsSettings
from unisono.training.goals import Contrastive, DenseSettings, TaskSettings
from unisono.training.goals import NextToken as NextTokenSettings
from unisono.training.objectives.audio_spectrum import AudioSpectrum
from unisono.training.objectives.connector_cells import ConnectorCells, occurring_words
from unisono.training.objectives.connector_ctc import ConnectorCtc, occurring_tokens
from unisono.training.objectives.dense import AnyDense, choose_dense
from unisono.training.objectives.next_token import NextToken
from unisono.training.objectives.onepeace import OnePeaceContrast
from unisono.training.objectives.tasks import AnyTask, choose_task
from unisono.training.recipe import StageSettings

AnyOfOla = NextToken | ConnectorCtc | ConnectorCells
AnyOfOnePeace = OnePeaceContrast | AudioSpectrum | AnyTask
AnyObjective = AnyOfOla | AnyOfOnePeace | AnyDense


def choose_objective(
    stage: StageSettings,
    processor: OlaProcessor | OnePeaceProcessor | None,
    rows: Iterable[Row],
    *,
    seed: int = 0,
    cache: EncoderCache | None = None,
    labels: Sequence[str] | None = None,
    config: PreTrainedConfig | None = None,
) -> AnyObjective:
    """The objective a stage names.

    Args:
        stage: of the recipe.
        processor: the model's; None of a dense model.
        rows: all of the stage's data, for what is to be known before (pre-alignment); taken
            from only then.
        seed: of what is drawn by chance.
        cache: of frozen encoders.
        labels: that the model chooses from, if it classifies.
        config: of a dense model.

    Raises:
        RecipeError: the objective is not for this kind of model.
    """
    settings = stage.objective
    if isinstance(settings, DenseSettings):
        return choose_dense(settings, config, labels or ())
    if isinstance(settings, Contrastive | AudioSpectrumSettings | TaskSettings):
        if not isinstance(processor, OnePeaceProcessor):
            raise RecipeError(f"the objective {settings.kind} of stage {stage.name} is for others")
        return _of_onepeace(settings, processor, seed, labels)
    if not isinstance(processor, OlaProcessor):
        raise RecipeError(f"the objective {settings.kind} of stage {stage.name} is for others")
    if isinstance(settings, NextTokenSettings):
        return NextToken(processor, settings, cache=cache)
    if isinstance(settings, ConnectorCellsSettings):
        return ConnectorCells(processor, settings, occurring_words(rows, processor))
    return ConnectorCtc(processor, settings, occurring_tokens(rows, processor), cache=cache)


def _of_onepeace(
    settings: Contrastive | AudioSpectrumSettings | TaskSettings,
    processor: OnePeaceProcessor,
    seed: int,
    labels: Sequence[str] | None,
) -> AnyOfOnePeace:
    if isinstance(settings, Contrastive):
        return OnePeaceContrast(processor, settings, seed=seed)
    if isinstance(settings, TaskSettings):
        return choose_task(settings, processor, labels)
    return AudioSpectrum(processor, settings)
