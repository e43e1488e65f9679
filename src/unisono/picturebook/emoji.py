"""Emoji drawn by several hands, named by the Unicode CLDR."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from unisono.picturebook.found import LANGUAGES, Found, plain, slug
from unisono.picturebook.packages import members

HANDS: Mapping[str, str] = {
    "noto": "noto-emoji",
    "noto-v1": "noto-v1-emoji",
    "twemoji": "twemoji",
    "fluent": "fluent-emoji",
    "fluent-flat": "fluent-emoji-flat",
    "openmoji": "openmoji",
    "fxemoji": "fxemoji",
    "emojione": "emojione",
}
"""Hand -> package."""

GROUPS = (
    *("smileys-emotion", "people-body", "component", "animals-nature", "food-drink"),
    *("travel-places", "activities", "objects", "symbols", "flags"),
)
_VARIATION = "-fe0f"
_SHORTCODES = ("cldr", "joypixels", "iamcal", "github")
_LARGEST_BYTES = 256 * 2**20  # all of a hand is one JSON file


def emoji() -> Iterator[Found]:
    """Every emoji of every hand, skin tones left out.

    Raises:
        HubError: a package cannot be had.
    """
    known = _known()
    for hand, package in HANDS.items():
        icons, characters = _icon_set(package)
        for code, icon in sorted((characters or _by_name(icons, known)).items()):
            about = known.get(code.replace(_VARIATION, ""))
            if about is not None and icon in icons["icons"]:
                yield _found(hand, about, _svg(icons, icon))


def _by_name(icons: Mapping[str, Any], known: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Code points -> icon, for a set that tells its icons' names alone."""
    codes: dict[str, str] = {}
    for kind in ("label", "shortcodes"):  # the proper name goes before short ones
        for code, about in known.items():
            names = [about["label"]] if kind == "label" else about["shortcodes"]
            for name in names:
                codes.setdefault(_squeezed(name), code)
    named = {_squeezed(icon): icon for icon in sorted(icons["icons"])}
    return {codes[name]: icon for name, icon in named.items() if name in codes}


def _squeezed(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower().replace("flag-for-", "flag"))


def _known() -> dict[str, dict[str, Any]]:
    """Code points ("1f436") -> name, short codes, keywords, group and captions."""
    wanted = {f"package/{language}/data.json" for language in ("en", *LANGUAGES)}
    wanted |= {f"package/en/shortcodes/{name}.json" for name in _SHORTCODES}
    read = {name: json.loads(data) for name, data in members("emojibase-data", wanted.__contains__)}
    labels = {
        language: {one["hexcode"]: one["label"] for one in read[f"package/{language}/data.json"]}
        for language in LANGUAGES
        if f"package/{language}/data.json" in read
    }
    known = {}
    for one in read["package/en/data.json"]:
        code = one["hexcode"]
        given = (read[f"package/en/shortcodes/{name}.json"].get(code, []) for name in _SHORTCODES)
        shortcodes = [
            name for some in given for name in ([some] if isinstance(some, str) else some)
        ]
        captions = {language: of[code] for language, of in labels.items() if code in of}
        if "group" in one:
            bare = code.lower().replace(_VARIATION, "")
            known[bare] = {**one, "captions": captions, "shortcodes": shortcodes}
    return known


def _icon_set(package: str) -> tuple[dict[str, Any], dict[str, str]]:
    """The icons of an Iconify package, and code points -> icon name."""
    wanted = {"package/icons.json", "package/chars.json"}
    read = {
        name: json.loads(data)
        for name, data in members(package, wanted.__contains__, largest_bytes=_LARGEST_BYTES)
    }
    return read["package/icons.json"], read["package/chars.json"]


def _svg(icons: Mapping[str, Any], name: str) -> bytes:
    icon = icons["icons"][name]
    width, height = (icon.get(side, icons.get(side, 16)) for side in ("width", "height"))
    box = f"{icon.get('left', 0)} {icon.get('top', 0)} {width} {height}"
    head = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    size = f'width="{width}" height="{height}" viewBox="{box}"'
    return f"<svg {head} {size}>{icon['body']}</svg>".encode()


def _found(hand: str, about: Mapping[str, Any], svg: bytes) -> Found:
    concept = plain(about["label"].replace(":", " "))
    return Found(
        name=f"{hand}-{slug(concept)}-{about['hexcode'].lower()}",
        concept=concept,
        hand=hand,
        group=GROUPS[about["group"]],
        picture=svg,
        captions={k: v.strip() for k, v in about["captions"].items()},
        keywords=tuple(about.get("tags", ())),
    )
