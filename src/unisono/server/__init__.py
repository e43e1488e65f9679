"""Ola and ONE-PEACE over HTTP, in the forms that OpenAI's clients speak."""

from unisono.server.app import make_app
from unisono.server.settings import ServerSettings

__all__ = ["ServerSettings", "make_app"]
