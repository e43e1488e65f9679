"""Recordings of people: telephone prompts, and captions of Tux Paint's stamps in many languages."""

import gzip
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from unisono.hub import deb_files, fetch_part
from unisono.media import load_audio
from unisono.picturebook.packages import members
from unisono.speech import Pcm

ASTERISK = "asterisk-core-sounds-en-g722"
TUXPAINT = "tuxpaint-stamps-default"
STAMPS_FOLDER = "usr/share/tuxpaint/stamps/"

_NOT_SPEECH = re.compile(r"[\[\]()<>]")
_CAPTION_SOUND = re.compile(r"_desc(?:_(?P<language>[a-z]{2,3}))?\.ogg$")


@dataclass(frozen=True)
class Prompt:
    """A telephone prompt of Asterisk, read by one woman.

    Attributes:
        name: of the file, "vm-goodbye", "digits/5".
        text: what is said.
        sound: raw G.722.
    """

    name: str
    text: str
    sound: bytes

    def samples(self) -> Pcm:
        """Float32 [T] at 16 kHz in [-1, 1]."""
        with tempfile.NamedTemporaryFile(suffix=".g722") as file:
            # Raw G.722 has no header to be known by: its name tells.
            file.write(self.sound)
            file.flush()
            return load_audio(file.name)


@dataclass(frozen=True)
class SpokenCaption:
    """A stamp's caption, read by a person.

    Attributes:
        stamp: the stamp's path without ending, "animals/mammals/cats/lion".
        language: ISO 639 code.
        text: the caption in that language.
        english: the caption in English.
        sound: an Ogg file.
    """

    stamp: str
    language: str
    text: str
    english: str
    sound: bytes


def asterisk_prompts() -> Iterator[Prompt]:
    """The prompts that are speech: brackets in a text describe a sound.

    Raises:
        HubError: the recordings cannot be had.
    """
    folder = fetch_part(ASTERISK)
    texts = _prompt_texts(folder / "core-sounds-en.txt.gz")
    (package,) = folder.glob("*.deb")
    with deb_files(package) as archive:
        for member in archive:
            path = PurePosixPath(member.name)
            name = str(path).removesuffix(".g722").split("en_US_f_Allison/")[-1]
            stream = archive.extractfile(member) if path.suffix == ".g722" else None
            if stream is not None and texts.get(name):
                yield Prompt(name, texts[name], stream.read())


def _prompt_texts(path: Path) -> dict[str, str]:
    """The lines are "name: text"; a semicolon begins a remark."""
    texts = {}
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            name, colon, text = line.strip().partition(": ")
            if colon and not name.startswith(";") and not _NOT_SPEECH.search(text):
                texts[name] = text.strip()
    return texts


def spoken_captions() -> Iterator[SpokenCaption]:
    """Every caption that a person reads and whose words are known, by stamp and language.

    Raises:
        HubError: the recordings cannot be had.
    """
    texts: dict[str, dict[str, str]] = {}
    sounds: dict[tuple[str, str], bytes] = {}
    for path, data in members(TUXPAINT, lambda path: path.startswith(STAMPS_FOLDER)):
        name = path.removeprefix(STAMPS_FOLDER)
        if found := _CAPTION_SOUND.search(name):
            sounds[name[: found.start()], found["language"] or "en"] = data
        elif name.endswith(".txt"):
            texts[name.removesuffix(".txt")] = _captions(data)
    for (stamp, language), sound in sorted(sounds.items()):
        said = texts.get(stamp, {})
        if said.get(language) and said.get("en"):
            yield SpokenCaption(stamp, language, said[language], said["en"], sound)


def _captions(text: bytes) -> dict[str, str]:
    """The first line is English; the others are "fr.utf8=Un chien."."""
    first, *others = text.decode("utf-8", "replace").splitlines() or [""]
    said = {"en": " ".join(first.split())}
    for line in others:
        language, mark, caption = line.partition(".utf8=")
        if mark and caption.strip():
            said[language.strip()] = " ".join(caption.split())
    return said
