"""A stage that kills its process; it imports nothing heavy, so that processes begin soon."""

import os
from pathlib import Path

from unisono.curation.loudness import Silence
from unisono.curation.records import Case, Outcome
from unisono.curation.store import Store


class Deadly(Silence):
    """Dies at the clip of one video, as a bug in a codec would have it."""

    def run(self, case: Case, store: Store) -> Outcome:
        if Path(case.path).name == "wrong.txt":
            os._exit(11)
        return super().run(case, store)
