"""The step "vocabulary": byte pairs of the captions that train, for onepeace-nano."""

from collections.abc import Iterator
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from unisono.models.onepeace.processor_text import SPECIALS, hub_text
from unisono.picturebook.captions import drawn_caption
from unisono.picturebook.drawing import read_drawings
from unisono.picturebook.step import Step, draws

SIZE = 8000
_ENGLISH_TIMES = 6
"""English is most of what is trained and searched, but one caption in twelve languages."""


def build(folder: Path, data: Path) -> None:
    """Fill the folder with a tokenizer as transformers saves it."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    trainer = trainers.BpeTrainer(
        vocab_size=SIZE,
        special_tokens=list(SPECIALS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_captions(data), trainer)
    begin, padding, end, unknown = SPECIALS
    saved = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=begin,
        pad_token=padding,
        eos_token=end,
        unk_token=unknown,
    )
    saved.save_pretrained(folder)


STEP = Step("vocabulary", 1, ("drawings",), build)


def _captions(data: Path) -> Iterator[str]:
    for drawing in read_drawings(data):
        if drawing.split == "train":
            for time in range(_ENGLISH_TIMES):
                yield hub_text(drawn_caption(drawing, draws("vocabulary", drawing.name, time))[0])
            yield from map(hub_text, (*drawing.captions.values(), *drawing.keywords))
