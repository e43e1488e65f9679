"""From what a user asks for to a plan: the models by name, the thresholds by what they limit."""

from collections.abc import Callable, Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt

from unisono.curation.chat import Chat, endpoint_chat, ola_chat
from unisono.curation.check import Check
from unisono.curation.duplicates import Duplicates
from unisono.curation.embed import Embed
from unisono.curation.export import Export
from unisono.curation.hear import Hear
from unisono.curation.label import PICTURES, SOUNDS, Describe
from unisono.curation.loudness import Silence
from unisono.curation.model_writer import model_writer
from unisono.curation.models import (
    assistant_model,
    classifiers_of,
    embedder_model,
    likelihood_of,
    listener_model,
    rival_of,
)
from unisono.curation.plan import Plan
from unisono.curation.probe import Probe
from unisono.curation.relevance import Relevance
from unisono.curation.split import Split
from unisono.curation.stage import Model, Stage
from unisono.curation.subtitles import Clean
from unisono.curation.templates import Templates
from unisono.curation.text_filters import Language, Perplexity, Repetition
from unisono.curation.writers import Write, Writer
from unisono.errors import DataError
from unisono.manifests.shard_writing import ShardForm

Share = Annotated[float, Field(ge=0, le=1)]
Asked = Literal["templates", "model", "both"]


class Options(BaseModel):
    """What may be chosen; the stages' own docstrings say more.

    Attributes:
        shortest_s, longest_s: of a clip.
        listener: who transcribes, a part of the catalog.
        language: spoken in the videos; None finds it.
        languages: that are wanted; none for any.
        embedder: a representation model, for labels, relevance and duplicates.
        judge: whose language model says how likely texts are.
        most_perplexity, least_relevance, most_repetition: limits of the filters.
        sound_labels, picture_labels: to choose from.
        writer: who writes questions.
        chat: a model of the library that writes and checks.
        endpoint, endpoint_model, endpoint_key: a server that does it in its place.
        check: whether questions are checked by asking without the media.
        most_questions: of a clip.
        forms: of the data set's files.
        seed: of the splits.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    shortest_s: PositiveFloat = 5.0
    longest_s: PositiveFloat = 60.0
    listener: str = "whisper-base-ct2"
    language: str | None = None
    languages: tuple[str, ...] = ()
    embedder: str = "onepeace-nano"
    judge: str = "ola-nano"
    most_perplexity: PositiveFloat = 1500.0
    least_relevance: Share = 0.3
    most_repetition: Share = 0.35
    sound_labels: tuple[str, ...] = SOUNDS
    picture_labels: tuple[str, ...] = PICTURES
    writer: Asked = "templates"
    chat: str = "ola-nano"
    endpoint: str | None = None
    endpoint_model: str = ""
    endpoint_key: str = Field(default="", repr=False)
    check: bool = True
    must_answer: bool = False
    most_questions: PositiveInt = 8
    forms: tuple[ShardForm, ...] = ("ola",)
    seed: int = 0


def plan_of(options: Options) -> Plan:
    """The whole pipeline.

    Raises:
        UnknownModelError: there is no such model.
        DataError: options contradict each other.
    """
    if options.longest_s < 2 * options.shortest_s:
        raise DataError(
            f"the longest clip must be at least twice the shortest, but they are "
            f"{options.longest_s:g} s and {options.shortest_s:g} s"
        )
    if options.endpoint and not options.endpoint_model:
        raise DataError("a server needs the name of a model on it")
    embedder = embedder_model(options.embedder)
    describe: tuple[Stage, ...] = (
        Silence(),
        Hear(listener_model(options.listener), options.language),
        Repetition(most=options.most_repetition),
        Embed(embedder),
        Describe(classifiers_of(embedder), options.picture_labels, options.sound_labels),
        Clean(),
        Language(options.languages),
        Perplexity(likelihood_of(assistant_model(options.judge)), options.most_perplexity),
        Relevance(rival_of(embedder), options.least_relevance),
    )
    return Plan(
        Probe(),
        Split(options.shortest_s, options.longest_s),
        describe,
        (Duplicates(),),
        _asking(options),
        (Export(options.forms, seed=options.seed),),
    )


def _asking(options: Options) -> Sequence[Stage]:
    writers: list[Model[Writer]] = []
    if options.writer in ("templates", "both"):
        make: Callable[[], Writer] = Templates
        writers.append(Model("templates", "1", make))
    if options.writer in ("model", "both"):
        writers.append(model_writer(_chat(options)))
    asking: list[Stage] = [Write(tuple(writers), options.most_questions)]
    if options.check:
        asking.append(Check(_chat(options), options.must_answer))
    return asking


def _chat(options: Options) -> Model[Chat]:
    if options.endpoint:
        return endpoint_chat(options.endpoint, options.endpoint_model, options.endpoint_key)
    return ola_chat(assistant_model(options.chat))
