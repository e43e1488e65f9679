"""Models and parts by name: what there is, where it comes from, and verified files on disk."""

from unisono.hub.archives import deb_files, npm_files
from unisono.hub.cache import Cache, default_cache_folder
from unisono.hub.catalog import (
    Catalog,
    CatalogFile,
    ModelEntry,
    Part,
    card_text,
    load_catalog,
    read_catalog,
)
from unisono.hub.progress import Progress, QuietProgress, RichProgress, terminal_progress
from unisono.hub.resolve import fetch_file, fetch_model, fetch_part
from unisono.hub.verify import check_file, sha256_of

__all__ = [
    "Cache",
    "Catalog",
    "CatalogFile",
    "ModelEntry",
    "Part",
    "Progress",
    "QuietProgress",
    "RichProgress",
    "card_text",
    "check_file",
    "deb_files",
    "default_cache_folder",
    "fetch_file",
    "fetch_model",
    "fetch_part",
    "load_catalog",
    "npm_files",
    "read_catalog",
    "sha256_of",
    "terminal_progress",
]
