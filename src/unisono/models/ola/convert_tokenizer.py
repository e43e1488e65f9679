"""What stands beside the weights: tokenizer, chat template, how to generate."""

import json
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from unisono.errors import IncompleteFileError, ModelConfigError
from unisono.models.ola.convert_config import SYSTEM_PROMPT
from unisono.models.ola.convert_write import replacing, write_json

TOKENIZER_FILES = (
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("vocab.json", "merges.txt"),
)
_VOCABULARIES = ("tokenizer.json", "vocab.json")
"""Either is enough."""
_END_OF_TURN, _END_OF_TEXT = "<|im_end|>", "<|endoftext|>"
_CONTROLS = ("<|im_start|>", _END_OF_TURN)

CHAT_TEMPLATE = f"""\
{{%- if messages[0]['role'] != 'system' -%}}
{{{{ '<|im_start|>system\\n{SYSTEM_PROMPT}<|im_end|>\\n' }}}}
{{%- endif -%}}
{{%- for message in messages -%}}
{{{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}}}
{{%- endfor -%}}
{{%- if add_generation_prompt -%}}
{{{{ '<|im_start|>assistant\\n' }}}}
{{%- endif -%}}
"""
"""ChatML as Ola was trained with. The tokenizer's own says that it is Qwen."""


def check_tokenizer(source: Path) -> None:
    """Raises IncompleteFileError if a folder has no tokenizer."""
    if not any((source / name).is_file() for name in _VOCABULARIES):
        raise IncompleteFileError(
            f"there is no tokenizer in {source}: neither {' nor '.join(_VOCABULARIES)}"
        )


def copy_tokenizer(source: Path, folder: Path, rows: int) -> tuple[str, ...]:
    """Copy the tokenizer, give it Ola's chat template, and write how to generate.

    Args:
        source: of the official checkpoint.
        folder: of ours; its config.json is there already.
        rows: of the token embeddings.

    Returns:
        What a user should know, a sentence each.

    Raises:
        IncompleteFileError: there is no tokenizer.
        ModelConfigError: it does not know ChatML, or cannot be read.
    """
    check_tokenizer(source)
    for name in TOKENIZER_FILES:
        if (source / name).is_file():
            with replacing(folder / name) as file:
                file.write((source / name).read_bytes())
    with replacing(folder / "chat_template.jinja") as file:
        file.write(CHAT_TEMPLATE.encode())
    vocabulary, pad = _read_tokenizer(folder)
    write_json(folder / "generation_config.json", _generation(source, vocabulary, pad))
    beyond = sum(index >= rows for index in vocabulary.values())
    if not beyond:
        return ()
    return (f"{beyond} tokens of the tokenizer have no embedding: there are only {rows}.",)


def _read_tokenizer(folder: Path) -> tuple[dict[str, int], int | None]:
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError, TypeError, KeyError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ModelConfigError(f"the tokenizer cannot be read: {reason}") from error
    vocabulary: dict[str, int] = tokenizer.get_vocab()
    if lacking := [token for token in _CONTROLS if token not in vocabulary]:
        raise ModelConfigError(f"the tokenizer must know {' and '.join(lacking)}, but does not")
    return vocabulary, tokenizer.pad_token_id


def _generation(source: Path, vocabulary: dict[str, int], pad: int | None) -> dict[str, Any]:
    """The official generation config; where it does not say how an answer ends, as ChatML does."""
    path = source / "generation_config.json"
    try:
        settings: dict[str, Any] = json.loads(path.read_bytes()) if path.is_file() else {}
    except ValueError as error:
        raise IncompleteFileError(f"{path} is not JSON: {error}") from None
    if settings.get("eos_token_id") is None:
        ends = [vocabulary[t] for t in (_END_OF_TURN, _END_OF_TEXT) if t in vocabulary]
        settings["eos_token_id"] = ends
    if settings.get("pad_token_id") is None:
        settings["pad_token_id"] = vocabulary.get(_END_OF_TEXT) if pad is None else pad
    return settings
