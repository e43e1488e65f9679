"""Every exception a caller of Unisono may want to catch.

One class per kind of fault; the message is one line in the user's words. The command line
prints it and exits with code 2. Nothing here knows about any other part of the library.
"""


class UnisonoError(Exception):
    """The root: `except UnisonoError` catches whatever Unisono raises on purpose."""


# --- media ---------------------------------------------------------------------------------


class MediaError(UnisonoError):
    """A picture, sound or video cannot be used."""


class MediaNotFoundError(MediaError):
    """There is no such file."""


class MediaAccessError(MediaError):
    """It may not or cannot be opened: no permission, a folder, a device, a web address."""


class MediaDecodeError(MediaError):
    """The bytes are not a picture, sound or video that can be decoded."""


class MediaTruncatedError(MediaError):
    """The file begins well and ends too early."""


class MediaStreamMissingError(MediaError):
    """The container has no stream of the kind asked for (no sound in a silent video, say)."""


class MediaTooLargeError(MediaError):
    """More bytes, pixels or seconds than the limit allows."""


class MediaEmptyError(MediaError):
    """No bytes, no samples or no frames."""


# --- hub -----------------------------------------------------------------------------------


class HubError(UnisonoError):
    """A model or one of its files cannot be had."""


class UnknownModelError(HubError):
    """No model or part of that name is in the catalog, and no folder either."""


class DownloadError(HubError):
    """No source of a file answered; the message names the file and each source's reason."""


class ChecksumError(HubError):
    """A file's sha256 is not the pinned one."""


class IncompleteFileError(HubError):
    """A file is missing or shorter than it must be."""


class CacheError(HubError):
    """The folder for fetched files cannot be read or written, or its disk is full."""


# --- conversation and models ---------------------------------------------------------------


class ConversationError(UnisonoError):
    """A message or part is not of the form a conversation allows."""


class UnsupportedModalityError(UnisonoError):
    """The model has no encoder for what it was given."""


class PlaceholderMismatchError(UnisonoError):
    """The prompt has a number of media placeholders that differs from the features'."""


class ContextLengthError(UnisonoError):
    """The conversation does not fit the language model's context."""


class ModelConfigError(UnisonoError):
    """A model's configuration contradicts itself."""


class EngineError(UnisonoError):
    """What computes the language model failed in the middle of an answer; asking again may help."""


# --- data and training ---------------------------------------------------------------------


class DataError(UnisonoError):
    """A manifest cannot be read."""


class BadRowError(DataError):
    """One row of a manifest is of no use; the message begins with where it stands."""


class TooManyBadRowsError(DataError):
    """More rows were of no use than the recipe allows."""


class RecipeError(UnisonoError):
    """A recipe contradicts itself, the model or the data."""


class CheckpointError(UnisonoError):
    """A checkpoint cannot be written, or none fits the run that is to be resumed."""


class DivergenceError(UnisonoError):
    """The loss is no longer a number, or has run away; the last good checkpoint is kept."""


# --- everything else -----------------------------------------------------------------------


class MissingExtraError(UnisonoError):
    """An optional package is not installed; the message names the command that installs it."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"{package} is not installed; it comes with: pip install 'unisono[{extra}]'"
        )


class NothingHeardError(UnisonoError):
    """A question asked by sound has no words in it."""


class VoiceError(UnisonoError):
    """A voice cannot speak: unknown voice or language, or its model fails."""


class ListenerError(UnisonoError):
    """A listener cannot hear: its model is missing or broken, or the language is unknown to it."""


class AudioDeviceError(UnisonoError):
    """There is no usable microphone or speaker."""
