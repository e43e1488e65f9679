"""What a stage is, how its work is named, and how it is done in whatever process.

A stage is a frozen dataclass: its fields are its settings and models. A piece of work is named by
everything it depends on: the stage, its version and fields, the fingerprints of its models, and
the records it reads. So what was done is found again, and nothing old is taken for new.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from unisono.curation.records import Case, Outcome, plain
from unisono.curation.store import Store

T = TypeVar("T")

_LOADED: dict[tuple[str, str], Any] = {}


@dataclass(frozen=True)
class Model(Generic[T]):
    """A model that each process loads for itself when it first needs it.

    Attributes:
        name: for people.
        fingerprint: tells it from all others; another one, and the work is done again.
        make: loads it; other processes must be able to unpickle it.
    """

    name: str
    fingerprint: str
    make: Callable[[], T]

    def get(self) -> T:
        """The model."""
        key = (self.name, self.fingerprint)
        if key not in _LOADED:
            _LOADED[key] = self.make()
        loaded: T = _LOADED[key]
        return loaded


def forget_models() -> None:
    """Free the memory of all models of this process."""
    _LOADED.clear()


class Stage(Protocol):
    """One step of the pipeline, on one file or clip alone.

    Attributes:
        name: of its folder and its place in the report.
        version: raised whenever it does something else with the same settings.
        needs: fields of `Case` it reads.
        gives: the field it fills; "" for a filter.
        record: the type of what it makes.
    """

    name: ClassVar[str]
    version: ClassVar[int]
    needs: ClassVar[tuple[str, ...]]
    gives: ClassVar[str]
    record: ClassVar[type]

    def run(self, case: Case, store: Store) -> Outcome:
        """Do it; what cannot be used is a rejection in the outcome, not an exception."""


@dataclass(frozen=True)
class Job:
    """A piece of work and its name."""

    stage: Stage
    case: Case
    key: str


def key_of(stage: Stage, case: Case) -> str:
    """The name of the work of a stage on a case, in hex."""
    read = {name: plain(getattr(case, name)) for name in stage.needs}
    said = [stage.name, stage.version, settings_of(stage), read]
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def settings_of(stage: Any) -> dict[str, Any]:
    """The fields of a stage as JSON values, models by their fingerprint."""
    return {one.name: _setting(getattr(stage, one.name)) for one in fields(stage)}


def _setting(value: Any) -> Any:
    if isinstance(value, Model):
        return {"model": value.name, "fingerprint": value.fingerprint}
    if is_dataclass(value) and not isinstance(value, type):
        return {"kind": type(value).__name__, **settings_of(value)}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_setting(one) for one in value]
    return value


def perform(job: Job, store: Store) -> str:
    """Do a piece of work and keep what comes of it; returns its key."""
    store.put(job.stage.name, job.key, job.stage.run(job.case, store))
    return job.key
