"""How models that are not part of transformers have all their modules initialised."""

from torch import nn
from transformers import PreTrainedModel


class Initialised(PreTrainedModel):
    """Gives `_init_weights` every module.

    For classes from outside of itself, transformers skips modules without parameters of their own:
    it takes them for loaded. Those that initialise their children would never get to it. What is
    loaded stays safe: the initialising functions pass over parameters that are.
    """

    def _initialize_weights(self, module: nn.Module, is_custom_code: bool = False) -> None:
        super()._initialize_weights(module, is_custom_code=False)
