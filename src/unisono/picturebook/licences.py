"""The licences of what the picturebook is made of: `python -m unisono.picturebook.licences`."""

import sys

from unisono.hub import Catalog, Part, load_catalog
from unisono.picturebook.packages import sources

_COLUMNS = ("part", "gives", "licence", "attribution", "home", "packages")

OF_MODELS_TOO = frozenset(
    {"asterisk-core-sounds-en-g722", "piper-en-us-joe-medium", "tuxpaint-stamps-default"}
)
"""Parts of the models' catalog that the picturebook is made of as well."""

ABOUT_WEIGHTS = """\
What is built from these packages is built on the user's own machine; it is not in the Python
package. The table repeats what the packages say of themselves: we have not looked into where each
file of theirs comes from. Parts "of the test alone", or that "never train", made no weights.

The weights in `src/unisono/weights/` were trained on pictures, recordings and texts of the others,
and on what their synthesisers and soundfonts say and play. What is known:

- Most sources may be used and changed by anyone who names their authors, as this table does.
- The stamps of Tux Paint and some sounds are under the GPL, version 2 or 3; OpenMoji, Scratch and
  some sounds are under CC-BY-SA. These ask that works derived from them stay under their licence.
- No one licence is that of all these sources: GPL-2.0-only and GPL-3.0 already differ, and their
  author, the Free Software Foundation, calls them incompatible.
- Whether trained weights are a derived work is not settled, and we do not say that they are or
  that they are not. The weights hold no picture or recording as such.

So the weights are offered under what all these licences have in common: anyone may use, change and
pass them on, for any purpose, naming the sources by this table, and without any warranty. As far as
rights in the weights are ours we add no condition to that. It is no promise for the sources'
authors. Who must keep away from a licence leaves its parts out and trains again: see
docs/picturebook.md.\
"""


def used_parts(catalog: Catalog | None = None) -> list[Part]:
    """The packages that the picturebook is made of, by name.

    Of the models' own catalog, those that are in `OF_MODELS_TOO`.

    Raises:
        HubError: a list of packages is not of its form.
    """
    if catalog is not None:
        return sorted(catalog.parts.values(), key=lambda part: part.name)
    models, parts = load_catalog().parts, sources().parts
    used = [name for name in parts if name not in models or name in OF_MODELS_TOO]
    return [parts[name] for name in sorted(used)]


def licence_table(catalog: Catalog | None = None) -> str:
    """A Markdown table: what a package gives, its licence, authors, home and where it is had.

    Args:
        catalog: whose parts are shown; by default those of `used_parts`.

    Raises:
        HubError: a list of packages is not of its form.
    """
    rows = [_COLUMNS, ("---",) * len(_COLUMNS), *map(_row, used_parts(catalog))]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _row(part: Part) -> tuple[str, ...]:
    packages = dict.fromkeys(str(file.sources[0]) for file in part.files)
    texts = (part.name, part.summary, part.licence, part.attribution, part.home)
    return (*map(_cell, texts), _cell(", ".join(packages)))


def _cell(text: str) -> str:
    """A text that does not end its cell of the table."""
    return text.replace("|", "\\|").replace("\n", " ")


def main() -> int:
    """The command."""
    print(licence_table())
    print()
    print(ABOUT_WEIGHTS)
    return 0


if __name__ == "__main__":
    sys.exit(main())
