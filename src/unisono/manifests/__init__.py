"""Data at rest: rows of conversations and of captioned media, read from and written to files."""

from unisono.manifests.manifest import Manifest, StreamedManifest
from unisono.manifests.opening import open_manifest
from unisono.manifests.row import ConversationRow, PairRow, Row, modality_of
from unisono.manifests.writing import write_llava, write_manifest

__all__ = [
    "ConversationRow",
    "Manifest",
    "PairRow",
    "Row",
    "StreamedManifest",
    "modality_of",
    "open_manifest",
    "write_llava",
    "write_manifest",
]
