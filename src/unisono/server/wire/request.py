"""What all requests in JSON have in common."""

from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator


class WireRequest(BaseModel):
    """A request; fields that nobody reads are passed over: clients send more than anybody reads.

    Texts must be Unicode. JSON can say halves of characters ("\\ud800"), which no tokenizer, no
    log and no answer could hold.
    """

    model_config = ConfigDict(extra="ignore")

    @model_validator(mode="before")
    @classmethod
    def _texts_are_unicode(cls, given: Any) -> Any:
        _check(given)
        return given


def _check(value: Any) -> None:
    if isinstance(value, str):
        if not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError:
                raise ValueError("a text has half of a character, which is no Unicode") from None
    elif isinstance(value, dict):
        for key, inner in value.items():
            _check(key)
            _check(inner)
    elif isinstance(value, list):
        for inner in value:
            _check(inner)
