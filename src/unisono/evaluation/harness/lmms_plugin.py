"""How lmms-eval finds our models: the entry point `lmms_eval.models` of pyproject.toml names this.

lmms-eval reads it at its start, so nothing heavy is imported here.
"""

from importlib import import_module
from typing import Any

from unisono.errors import MissingExtraError

_MODULE = "unisono.evaluation.harness.lmms_model"


def manifest() -> Any:
    """The model `unisono` of lmms-eval's registry (`lmms_eval.models.registry_v2.ModelManifest`).

    Raises:
        MissingExtraError: lmms-eval is not installed.
    """
    try:
        registry = import_module("lmms_eval.models.registry_v2")
    except ImportError as error:
        raise MissingExtraError("lmms-eval", "lmms") from error
    return registry.ModelManifest(
        model_id="unisono",
        simple_class_path=f"{_MODULE}.LmmsModel",
        chat_class_path=f"{_MODULE}.LmmsChatModel",
    )
