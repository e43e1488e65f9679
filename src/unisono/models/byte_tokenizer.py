"""Tokenizers that need no vocabulary file: a token a byte.

For tests, for trying a recipe out, and for models small enough that spelling costs nothing.
"""

from collections.abc import Sequence

from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
FAIRSEQ_SPECIALS = ("<s>", "<pad>", "</s>", "<unk>")


def chat_byte_tokenizer() -> PreTrainedTokenizerFast:
    """For Ola: every UTF-8 byte (ids 0 to 255), then the three controls of ChatML."""
    return PreTrainedTokenizerFast(
        tokenizer_object=_byte_level(()),
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        extra_special_tokens=["<|im_start|>"],
        chat_template=CHATML,
    )


def onepeace_byte_tokenizer() -> PreTrainedTokenizerFast:
    """For ONE-PEACE: fairseq's four specials (pad = 1, eos = 2), then every byte."""
    _, pad, eos, unknown = FAIRSEQ_SPECIALS
    return PreTrainedTokenizerFast(
        tokenizer_object=_byte_level(FAIRSEQ_SPECIALS),
        pad_token=pad,
        eos_token=eos,
        unk_token=unknown,
    )


def _byte_level(first: Sequence[str]) -> Tokenizer:
    """Byte pairs without a merge: some entries, then the 256 bytes."""
    entries = (*first, *sorted(pre_tokenizers.ByteLevel.alphabet()))
    vocabulary = {piece: index for index, piece in enumerate(entries)}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return backend
