"""All models here are tiny."""

from one_thread import one_thread

__all__ = ["one_thread"]
