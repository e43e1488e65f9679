"""Find anything by anything: libraries of media, searched by words, pictures and sounds."""

from unisono.retrieval.filters import Filter
from unisono.retrieval.hit import Hit
from unisono.retrieval.indexing import IndexReport, Progress
from unisono.retrieval.library import Library
from unisono.retrieval.lookup import file_of
from unisono.retrieval.query import Part, Query

__all__ = ["Filter", "Hit", "IndexReport", "Library", "Part", "Progress", "Query", "file_of"]
