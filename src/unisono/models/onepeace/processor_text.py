"""Text -> ids of GPT-2's byte pairs in fairseq's order.

GPT-2 says how a text is cut (`encoder.json`, `vocab.bpe`); fairseq numbers the pieces anew: four
specials, then by frequency as `dict.txt` lists them. RoBERTa's `vocab.json` and `merges.txt` are
the same but for one more entry, `<mask>`, at the end. The files come with a checkpoint or from
the catalog, never with this package. Truncation and eos are the processor's affair.

Shapes: B batch, T tokens without [CLS].
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from torch import Tensor
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from unisono.errors import ConversationError, IncompleteFileError, ModelConfigError

SPECIALS = ("<s>", "<pad>", "</s>", "<unk>")
"""fairseq's first entries: begin, padding, end, unknown."""

OFFICIAL_FILES = ("encoder.json", "vocab.bpe", "dict.txt")
ROBERTA_FILES = ("vocab.json", "merges.txt")

WORD_MARKS = ("Ġ", "▁")
"""How byte-level and SentencePiece vocabularies write the space in front of a word."""

_ROBERTA_MASK = "<mask>"
_LEADING_PUNCTUATION = ",.!?*#:;~"
_SPACES = re.compile(r"\s{2,}|\t")


def hub_text(text: str) -> str:
    """As the official inference does: lower case behind one space, nothing else."""
    return " " + text.lower()


def dataset_text(text: str) -> str:
    """As the official training data does.

    Leading punctuation goes; tabs and runs of two or more white spaces become one space (a single
    newline between words stays); newlines at the end and spaces at both ends go; then as
    `hub_text`.
    """
    text = _SPACES.sub(" ", text.lower().lstrip(_LEADING_PUNCTUATION))
    return " " + text.rstrip("\n").strip(" ")


def check_text(text: Any) -> str:
    """The text, if it is one.

    Raises:
        ConversationError: it is no str, or not Unicode that can be encoded.
    """
    if not isinstance(text, str):
        raise ConversationError(f"a text must be a str, but is {type(text).__name__} instead")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ConversationError(f"a text is not valid Unicode: {error.reason}") from None
    return text


def load_tokenizer(folder: str | Path) -> PreTrainedTokenizerFast:
    """A tokenizer from the official files, or RoBERTa's, in a folder.

    `save_pretrained` writes it as one `tokenizer.json`, for `AutoTokenizer.from_pretrained`. It
    takes special tokens written in a text for ordinary characters, as the original does.

    Raises:
        IncompleteFileError: the folder has neither set of files.
        ModelConfigError: the files contradict each other.
    """
    folder = Path(folder)
    for names, read in _READERS.items():
        if all((folder / name).is_file() for name in names):
            vocabulary, merges = read(*(_content(folder / name) for name in names))
            return _tokenizer(vocabulary, merges)
    sets = " nor ".join(", ".join(names) for names in _READERS)
    raise IncompleteFileError(f"folder '{folder}' has neither {sets}")


def word_start_table(tokenizer: PreTrainedTokenizerBase) -> Tensor:
    """bool [vocabulary]: whether a token begins a word; special tokens do."""
    tokens = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
    begins = [str(token).startswith(WORD_MARKS) for token in tokens]
    table = torch.tensor(begins, dtype=torch.bool)
    table[torch.tensor(tokenizer.all_special_ids, dtype=torch.long)] = True
    return table


def pad_ids(rows: Sequence[Sequence[int]], pad_id: int) -> tuple[Tensor, Tensor]:
    """Ids of texts -> int64 [B, T] filled up by `pad_id`, and its mask [B, T], 1 at real ones."""
    longest = max(map(len, rows))
    ids = torch.full((len(rows), longest), pad_id)
    mask = torch.zeros_like(ids)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = torch.tensor(row)
        mask[i, : len(row)] = 1
    return ids, mask


Vocabulary = Mapping[str, int]
Merges = Sequence[tuple[str, str]]


def _read_official(encoder: str, merges: str, dictionary: str) -> tuple[Vocabulary, Merges]:
    """GPT-2's token strings under fairseq's ids."""
    tokens = {str(number): token for token, number in _json(encoder, "encoder.json").items()}
    listed = [line.rsplit(" ", 1)[0] for line in dictionary.splitlines() if line.strip()]
    order = [*SPECIALS, *(tokens.get(entry, entry) for entry in listed)]
    vocabulary = {token: i for i, token in enumerate(order)}
    if len(vocabulary) != len(order):
        raise ModelConfigError("dict.txt names an entry twice")
    if missing := sorted(set(tokens.values()) - set(vocabulary)):
        raise ModelConfigError(f"dict.txt lacks {len(missing)} tokens of encoder.json")
    return vocabulary, _merges(merges)


def _read_roberta(vocabulary: str, merges: str) -> tuple[Vocabulary, Merges]:
    """RoBERTa's vocabulary without its `<mask>`, which ONE-PEACE does not have."""
    entries = _json(vocabulary, "vocab.json")
    kept = {token: i for token, i in entries.items() if token != _ROBERTA_MASK}
    return dict(sorted(kept.items(), key=lambda entry: entry[1])), _merges(merges)


_READERS: dict[tuple[str, ...], Callable[..., tuple[Vocabulary, Merges]]] = {
    OFFICIAL_FILES: _read_official,
    ROBERTA_FILES: _read_roberta,
}


def _content(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise IncompleteFileError(f"'{path}' cannot be read: {error}") from error


def _json(text: str, name: str) -> dict[str, int]:
    try:
        entries = json.loads(text)
    except json.JSONDecodeError as error:
        raise ModelConfigError(f"{name} is not JSON: {error}") from error
    if not isinstance(entries, dict):
        raise ModelConfigError(f"{name} must hold an object, but holds a list or value instead")
    return entries


def _merges(text: str) -> Merges:
    """Pairs, the earliest first; a first line "#version" is a remark."""
    lines = text.split("\n")
    pairs = [tuple(line.split(" ")) for line in lines[lines[0].startswith("#version") :] if line]
    if bad := [pair for pair in pairs if len(pair) != 2]:
        raise ModelConfigError(f"a merge must be two tokens, but is {' '.join(bad[0])!r} instead")
    return [(left, right) for left, right in pairs]


def _tokenizer(vocabulary: Vocabulary, merges: Merges) -> PreTrainedTokenizerFast:
    if [vocabulary.get(token) for token in SPECIALS] != list(range(len(SPECIALS))):
        raise ModelConfigError(f"the vocabulary must begin with {' '.join(SPECIALS)}")
    if sorted(vocabulary.values()) != list(range(len(vocabulary))):
        raise ModelConfigError("the ids of the vocabulary must run from 0 without a gap")
    try:
        backend = Tokenizer(models.BPE(vocab=dict(vocabulary), merges=list(merges)))
    except Exception as error:  # the Rust library raises nothing narrower
        raise ModelConfigError(f"the merges do not fit the vocabulary: {error}") from error
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    bos, pad, eos, unknown = SPECIALS
    backend.post_processor = processors.TemplateProcessing(
        single=f"$A {eos}", pair=f"$A {eos} $B {eos}", special_tokens=[(eos, vocabulary[eos])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token=bos,
        pad_token=pad,
        eos_token=eos,
        unk_token=unknown,
        split_special_tokens=True,
    )
