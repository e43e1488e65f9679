"""The next token of a conversation: what Ola learns in every stage of its paper."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from unisono.conversation import AudioPart, ImagePart, Message, Part, TextPart, VideoPart
from unisono.errors import ContextLengthError, ConversationError
from unisono.manifests.row import ConversationRow, PairRow, Row
from unisono.models.ola.processor import OlaProcessor
from unisono.models.ola.prompt import AudioSpan, MediaSpan, VideoSpan
from unisono.training import goals
from unisono.training.batch import Computed
from unisono.training.feature_cache import EncoderCache, media_tensors, with_keeper
from unisono.training.packing import LabelledPrompt, packed, padded

INSTRUCTIONS = {
    "image": "Describe this image.",
    "audio": "Describe this sound.",
    "video": "Describe this video.",
}
"""What the user says about the medium of a pair that has no field `instruction`."""

LOSS_CHUNK = 512
"""Positions whose logits exist at once: of 152,000 words, 300 MB in float32."""


class NextToken:
    """Cross-entropy of the tokens that have a label (arXiv 2502.04328, section 3.3).

    A pair of one medium and a text becomes a conversation: the user gives the medium and an
    instruction, the assistant says the text. A pair without a text has no answer, and one of
    several media leaves open which of them the text is about: such rows are of no use.

    Attributes:
        packs: whether the conversations of a micro-batch share a row, so that it has no padding.
    """

    def __init__(
        self,
        processor: OlaProcessor,
        settings: goals.NextToken,
        *,
        cache: EncoderCache | None = None,
        loss_chunk: int = LOSS_CHUNK,
    ) -> None:
        """Learn as a recipe says.

        Args:
            processor: the model's.
            settings: of the stage.
            cache: keeps the features of frozen encoders; None encodes all media anew.
            loss_chunk: positions whose logits exist at once.
        """
        self.processor = processor
        self.settings = settings
        self.cache = cache
        self.loss_chunk = loss_chunk
        self.packs = settings.pack

    def prepare(self, row: Row) -> LabelledPrompt:
        """Open a conversation's media and encode it.

        Raises:
            ContextLengthError: it has more tokens than `max_tokens`.
            ConversationError: it is malformed, a pair that makes no conversation, or there is
                nothing in it to learn.
            MediaError, UnsupportedModalityError: see `OlaProcessor.prompt`.
        """
        messages = row.messages if isinstance(row, ConversationRow) else conversation_of(row)
        supervision = self.settings.supervision
        example = LabelledPrompt(*self.processor.example(messages, supervision=supervision))
        length, most = len(example.labels), self.settings.max_tokens
        if length > most:
            raise ContextLengthError(
                f"a conversation must have at most {most} tokens (max_tokens), but has {length}"
            )
        if not example.learned:
            raise ConversationError("a conversation must have an answer, but all are empty")
        return example

    def length(self, example: LabelledPrompt) -> int:
        """Its tokens."""
        return len(example.labels)

    def kind(self, example: LabelledPrompt) -> str:
        """Its media ("audio+image"), or "text"."""
        return "+".join(sorted(set(map(_kind, example.prompt.spans)))) or "text"

    def collate(self, examples: Sequence[LabelledPrompt]) -> tuple[Mapping[str, Any], float]:
        """What `OlaForConditionalGeneration.forward` takes; the weight is the learned tokens."""
        pad_id = self.processor.tokenizer.pad_token_id or 0
        tokens = packed(examples) if self.packs else padded(examples, pad_id)
        spans = [span for one in examples for span in one.prompt.spans]
        media = media_tensors(self.processor, spans, self.cache)
        return {**tokens, **media}, float(sum(one.learned for one in examples))

    def loss(self, model: nn.Module, inputs: Mapping[str, Any], *, draw: int) -> Computed:
        """Summed over the learned tokens. Nothing is drawn by chance but the model's own dropout.

        Features that were not kept yet are, if there is a cache.
        """
        given = with_keeper(inputs, self.cache)
        return Computed(model(**given, loss_chunk=self.loss_chunk).loss)


def conversation_of(row: PairRow) -> tuple[Message, ...]:
    """A text about one medium as a conversation; the row's field `instruction` may begin it.

    Raises:
        ConversationError: there is no text, or not exactly one medium.
    """
    parts: dict[str, Part] = {}
    if row.image is not None:
        parts["image"] = ImagePart(image=row.image)
    if row.audio is not None:
        parts["audio"] = AudioPart(audio=row.audio)
    if row.video is not None:
        parts["video"] = VideoPart(video=row.video)
    if not row.text or len(parts) != 1:
        what = [*(["text"] if row.text else []), *parts]
        raise ConversationError(
            "a pair must have a text and one medium to become a conversation, but has "
            f"{' and '.join(what)} instead"
        )
    ((kind, medium),) = parts.items()
    asked = TextPart(text=str(row.fields.get("instruction") or INSTRUCTIONS[kind]))
    return (
        Message(role="user", content=(medium, asked)),
        Message(role="assistant", content=row.text),
    )


def _kind(span: MediaSpan) -> str:
    if isinstance(span, AudioSpan):
        return "audio"
    return "video" if isinstance(span, VideoSpan) else "image"
