"""An official Ola checkpoint: a folder, and the files of the two encoders it hears with.

The official loader builds the hearing encoders anew from the files that the config names and
ignores what the checkpoint itself has of them. So do we, where the files are found; where they
are not, the checkpoint's own tensors serve.

Knows which files there are and whose tensors count; not what they are called here.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unisono.errors import IncompleteFileError, ModelConfigError, UnknownModelError
from unisono.models.ola.convert_beats import BEATS_PREFIX
from unisono.models.ola.convert_keys import (
    AUDIO_CONNECTOR_PREFIX,
    IGNORED_WHISPER_KEYS,
    SPEECH_PREFIX,
    is_ignored,
)
from unisono.models.ola.convert_sources import PickleFile, SafetensorsFile, TensorFile, TensorInfo

MODEL_TYPES = frozenset({"ola_qwen"})
PROJECTOR_FILE = "speech_projector.bin"
_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
_SAVED_PREFIXES = ("base_model.model.", AUDIO_CONNECTOR_PREFIX, "speech_projector.")
"""What may stand before the keys of a `speech_projector.bin`."""


@dataclass(frozen=True)
class OfficialTensor:
    """Where a tensor is: a file, and its key in there."""

    file: TensorFile
    key: str

    @property
    def info(self) -> TensorInfo:
        """Kind and shape."""
        return self.file.tensors[self.key]


@dataclass(frozen=True)
class OfficialCheckpoint:
    """All that is converted.

    Attributes:
        folder: where it is.
        config: its config.json.
        tensors: official key, as in a whole checkpoint -> where the tensor is.
        whisper_dims: shape of Whisper, from its file; None without the file.
        beats_cfg: shape of BEATs, from its file; None without the file.
        notes: what a user should know, a sentence each.
    """

    folder: Path
    config: Mapping[str, Any]
    tensors: Mapping[str, OfficialTensor]
    whisper_dims: Mapping[str, Any] | None
    beats_cfg: Mapping[str, Any] | None
    notes: tuple[str, ...]

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Official key -> shape."""
        return {key: tensor.info.shape for key, tensor in self.tensors.items()}

    @property
    def files(self) -> list[TensorFile]:
        """The files that hold the tensors, each once, by name."""
        return sorted({t.file for t in self.tensors.values()}, key=lambda file: file.path.name)


def is_official_ola(folder: Path) -> bool:
    """Whether a folder looks like an official Ola checkpoint."""
    try:
        config = json.loads((folder / "config.json").read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and config.get("model_type") in MODEL_TYPES


def open_official(
    folder: Path, *, whisper: Path | None = None, beats: Path | None = None
) -> OfficialCheckpoint:
    """Find all files of an official checkpoint and read what they say of themselves.

    Args:
        folder: with a config.json and weights.
        whisper: OpenAI's file of Whisper, where it is not in `folder`.
        beats: Microsoft's file of BEATs, where it is not in `folder`.

    Raises:
        UnknownModelError: there is no such folder or file.
        IncompleteFileError: a file is missing or cut short.
        ModelConfigError: it is another kind of checkpoint, or a hearing encoder is nowhere.
    """
    config = _config(folder)
    tensors = _by_key(_weight_files(folder))
    notes: list[str] = []
    if (folder / PROJECTOR_FILE).is_file():
        own = PickleFile(folder / PROJECTOR_FILE)
        found = {AUDIO_CONNECTOR_PREFIX + _bare(k): OfficialTensor(own, k) for k in own.tensors}
        tensors = _replaced(tensors, AUDIO_CONNECTOR_PREFIX, found, notes)
    speech = _hearing_file(folder, _Hearing("speech_encoder", "--whisper", whisper), config)
    sound = _hearing_file(folder, _Hearing("music_encoder", "--beats", beats), config)
    dims = cfg = None
    if speech is not None:
        file = PickleFile(speech, "model_state_dict")
        dims = _facts(file, "dims")
        tensors = _replaced(tensors, SPEECH_PREFIX, _whisper_tensors(file), notes)
    if sound is not None:
        file = PickleFile(sound, "model")
        cfg = _facts(file, "cfg")
        found = {BEATS_PREFIX + key: OfficialTensor(file, key) for key in file.tensors}
        tensors = _replaced(tensors, BEATS_PREFIX, found, notes)
    _check_hearing(config, tensors)
    return OfficialCheckpoint(folder, config, tensors, dims, cfg, tuple(notes))


def _config(folder: Path) -> Mapping[str, Any]:
    if not folder.is_dir():
        raise UnknownModelError(f"there is no folder {str(folder)!r}")
    config = _json(folder / "config.json")
    if config.get("model_type") not in MODEL_TYPES:
        raise ModelConfigError(
            f"model_type must be {' or '.join(sorted(MODEL_TYPES))} in {folder / 'config.json'}, "
            f"but is {config.get('model_type')} instead"
        )
    return config


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except OSError:
        raise IncompleteFileError(f"there is no {path.name} in {path.parent}") from None
    except ValueError as error:
        raise IncompleteFileError(f"{path} is not JSON: {error}") from None
    if not isinstance(content, dict):
        raise IncompleteFileError(f"{path} must hold a JSON object")
    return content


def _weight_files(folder: Path) -> list[TensorFile]:
    for name in _WEIGHTS:
        kind = SafetensorsFile if name.endswith(".safetensors") else PickleFile
        if (index := folder / f"{name}.index.json").is_file():
            return _indexed(index, kind)
        if (folder / name).is_file():
            return [kind(folder / name)]
    raise IncompleteFileError(f"there are no weights in {folder}: none of {', '.join(_WEIGHTS)}")


def _indexed(index: Path, kind: type[SafetensorsFile] | type[PickleFile]) -> list[TensorFile]:
    """The shards of an index; every tensor must be where it says."""
    weight_map = _json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise IncompleteFileError(f"{index} must have a weight_map")
    names = sorted(set(map(str, weight_map.values())))
    for name in names:
        if Path(name).name != name or not (index.parent / name).is_file():
            raise IncompleteFileError(f"there is no {name} in {index.parent}")
    files = {name: kind(index.parent / name) for name in names}
    lost = [key for key, name in weight_map.items() if key not in files[name].tensors]
    if lost:
        name = weight_map[lost[0]]
        raise IncompleteFileError(f"{name} lacks {lost[0]}, one of {len(lost)} such tensors")
    return list(files.values())


def _by_key(files: Iterable[TensorFile]) -> dict[str, OfficialTensor]:
    found: dict[str, OfficialTensor] = {}
    for file in files:
        for key in file.tensors:
            if key in found:
                both = f"{found[key].file.path.name} and {file.path.name}"
                raise ModelConfigError(f"{key} must be in one file, but is in {both}")
            found[key] = OfficialTensor(file, key)
    return found


def _bare(key: str) -> str:
    for prefix in _SAVED_PREFIXES:
        key = key.removeprefix(prefix)
    return key


def _replaced(
    tensors: dict[str, OfficialTensor],
    prefix: str,
    found: dict[str, OfficialTensor],
    notes: list[str],
) -> dict[str, OfficialTensor]:
    """The tensors with those under `prefix` from a file of their own; a note says so."""
    kept = {key: tensor for key, tensor in tensors.items() if not key.startswith(prefix)}
    file = next(iter(found.values())).file.path.name if found else "an empty file"
    instead = f", not from the checkpoint ({n} tensors)" if (n := len(tensors) - len(kept)) else ""
    notes.append(f"{prefix.rstrip('.')} comes from {file}{instead}.")
    return kept | found


@dataclass(frozen=True)
class _Hearing:
    """A hearing encoder: the config's field for it, the option for its file, the file given."""

    field: str
    option: str
    given: Path | None


def _hearing_file(folder: Path, encoder: _Hearing, config: Mapping[str, Any]) -> Path | None:
    """The encoder's own file; None where only the checkpoint can have it, or nothing hears."""
    named, given = config.get(encoder.field), encoder.given
    if given is not None:
        if not given.is_file():
            raise UnknownModelError(f"there is no file {str(given)!r} ({encoder.option})")
        if not named:
            raise ModelConfigError(
                f"{encoder.option} was given, but the checkpoint's config names no {encoder.field}"
            )
        return given
    if not named:
        return None
    candidates = (folder / str(named), folder / Path(str(named)).name)
    return next((path for path in candidates if path.is_file()), None)


def _whisper_tensors(file: PickleFile) -> dict[str, OfficialTensor]:
    """The encoder's tensors; keys that are neither its nor the decoder's stay, to be refused."""
    return {
        SPEECH_PREFIX + key.removeprefix("encoder."): OfficialTensor(file, key)
        for key in file.tensors
        if not is_ignored(key, IGNORED_WHISPER_KEYS)
    }


def _facts(file: PickleFile, name: str) -> Mapping[str, Any]:
    facts = file.facts.get(name)
    if not isinstance(facts, Mapping):
        raise ModelConfigError(f"{file.path} must have a dict {name!r} that tells the shape")
    return facts


def _check_hearing(config: Mapping[str, Any], tensors: Mapping[str, OfficialTensor]) -> None:
    """An encoder that the config names must be somewhere."""
    for field, option, prefix in (
        ("speech_encoder", "--whisper", SPEECH_PREFIX),
        ("music_encoder", "--beats", BEATS_PREFIX),
    ):
        named = config.get(field)
        if named and not any(key.startswith(prefix) for key in tensors):
            raise ModelConfigError(
                f"the config names the {field} {str(named)!r}, but there is no such file and the "
                f"checkpoint has no tensors of it; name the file with {option}"
            )
