"""A model that answers, for lmms-eval (arXiv 2407.12772): pictures, videos and sounds.

    python -m lmms_eval --model unisono --model_args pretrained=ola-nano --tasks mmstar
    python -m lmms_eval --model unisono --model_args pretrained=my-ola --force_simple \
        --tasks my_multiple_choice

lmms-eval's chat interface generates; its simple one also scores continuations. Only lmms-eval
imports this module (`lmms_plugin` tells it where it is).

Shapes: T tokens, L tokens of a continuation, V vocabulary.
"""

import mimetypes
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lmms_eval.api.model import lmms
from PIL import Image

from unisono.conversation import AudioPart, ImagePart, Message, Part, TextPart, VideoPart
from unisono.errors import ConversationError, UnsupportedModalityError
from unisono.evaluation.tasks.perplexity import OlaModel, Perplexity
from unisono.models.ola.supervision import IGNORED
from unisono.runtime import load_assistant
from unisono.runtime.assistant import Assistant
from unisono.runtime.reply import collect

_LONGEST_ANSWER = 64
"""Tokens, where the task says nothing: as our own benchmarks."""

_PARTS: Mapping[str, Callable[[Any], Part]] = {
    "text": lambda text: TextPart(text=text),
    "image": lambda image: ImagePart(image=image),
    "video": lambda video: VideoPart(video=video),
    "audio": lambda audio: AudioPart(audio=_sound(audio)),
}


class LmmsModel(lmms):  # type: ignore[misc]  # lmms-eval has no types
    """lmms-eval's simple interface: media first, then the text.

    Args of its constructor come from `--model_args` and lmms-eval's own options.
    """

    is_simple = True

    def __init__(self, pretrained: str, **_: Any) -> None:
        """Take a model.

        Args:
            pretrained: of the catalog, or a folder; for continuations it must be a folder.
        """
        super().__init__()
        self.pretrained = str(pretrained)

    @cached_property
    def assistant(self) -> Assistant:
        """What generates, loaded when it is used.

        Raises:
            UnknownModelError: there is no such model.
        """
        return load_assistant(self.pretrained)

    @cached_property
    def scorer(self) -> OlaModel:
        """What scores continuations, in PyTorch.

        Raises:
            UnknownModelError, ModelConfigError: `pretrained` is no folder of an Ola model.
        """
        return Perplexity().load(self.pretrained)

    def generate_until(self, requests: Sequence[Any]) -> list[str]:
        """An answer to each request; greedy unless the task gives a temperature.

        Raises:
            MediaError, ConversationError: a question cannot be asked.
        """
        answers = []
        for request in requests:
            messages, settings = self._asked(request.args)
            answers.append(_answer(self.assistant, messages, settings))
            self.cache_hook.add_partial("generate_until", (request.args[0], settings), answers[-1])
        return answers

    def loglikelihood(self, requests: Sequence[Any]) -> list[tuple[float, bool]]:
        """How unlikely a continuation is as the whole answer, the token that ends it included.

        Whatever its name says, lmms-eval 0.7.3 takes the choice with the *least* of these numbers
        (`ConfigurableTask.process_results`), so they are losses.

        Returns:
            The NLL in nats, and whether each of its tokens is the likeliest.

        Raises:
            MediaError, ConversationError: a question cannot be asked.
        """
        found = []
        for request in requests:
            context, target, visuals, *place = request.args
            doc = self._doc(*place)
            said = target if isinstance(target, str) else target(doc)
            asked = Message(role="user", content=simple_parts(context, visuals(doc)))
            # The template begins the turn, so the delimiter before a continuation goes.
            answer = Message(role="assistant", content=str(said).strip())
            likelihood, greedy = continuation(self.scorer, (asked, answer))
            found.append((-likelihood, greedy))
        return found

    def generate_until_multi_round(self, requests: Sequence[Any]) -> list[str]:
        """Not offered.

        Raises:
            UnsupportedModalityError: always.
        """
        raise UnsupportedModalityError("tasks of several rounds cannot be run with this model")

    def _asked(self, args: Sequence[Any]) -> tuple[list[Message], Mapping[str, Any]]:
        context, settings, visuals, *place = args
        parts = simple_parts(context, visuals(self._doc(*place)))
        return [Message(role="user", content=parts)], settings

    def _doc(self, place: int, task: str, split: str) -> Any:
        return self.task_dict[task][split][place]


class LmmsChatModel(LmmsModel):
    """lmms-eval's chat interface: turns of text and media in any order. It only generates."""

    is_simple = False

    def _asked(self, args: Sequence[Any]) -> tuple[list[Message], Mapping[str, Any]]:
        _, messages, settings, *place = args
        turns = messages(self._doc(*place))
        return [Message(role=one["role"], content=chat_parts(one["content"])) for one in turns], (
            settings
        )


def simple_parts(text: str, visuals: Sequence[Any] | None) -> tuple[Part, ...]:
    """Media in their order, then the text.

    Raises:
        UnsupportedModalityError: a medium is none we know.
    """
    return (*(_PARTS[_kind(one)](one) for one in visuals or ()), TextPart(text=text))


def chat_parts(content: Sequence[Mapping[str, Any]]) -> tuple[Part, ...]:
    """The parts of a turn in the form of `lmms_eval.protocol.ChatMessage`.

    Raises:
        UnsupportedModalityError: a part is of no kind we know.
        ConversationError: a video is to be cut, which no part can say.
    """
    return tuple(_chat_part(one) for one in content)


def _chat_part(one: Mapping[str, Any]) -> Part:
    kind = str(one.get("type"))
    if kind not in _PARTS:
        raise UnsupportedModalityError(f"a part must be of {', '.join(_PARTS)}, but is of {kind}")
    if one.get("start_time") is not None or one.get("end_time") is not None:
        raise ConversationError("a video must be asked about as a whole: cut it into a file first")
    return _PARTS[kind](one["text"] if kind == "text" else one["url"])


def _kind(visual: Any) -> str:
    if isinstance(visual, Image.Image):
        return "image"
    if isinstance(visual, Mapping) and ("array" in visual or "bytes" in visual):
        return "audio"
    if isinstance(visual, str | Path):
        kind = (mimetypes.guess_type(str(visual))[0] or "video").partition("/")[0]
        return kind if kind in _PARTS else "video"
    raise UnsupportedModalityError(f"a medium must be a picture, sound or path, but is {visual!r}")


def _sound(audio: Any) -> Any:
    """As `unisono.media` opens it; `datasets` gives {"array", "sampling_rate"}, or encoded."""
    if not isinstance(audio, Mapping):
        return audio
    if audio.get("array") is None:
        return audio.get("bytes") or audio["path"]
    samples = np.asarray(audio["array"], dtype=np.float32)
    return np.clip(samples, -1.0, 1.0), int(audio["sampling_rate"])


def _answer(model: Assistant, messages: list[Message], settings: Mapping[str, Any]) -> str:
    events = model.stream(
        messages,
        max_new_tokens=int(settings.get("max_new_tokens", _LONGEST_ANSWER)),
        temperature=float(settings.get("temperature") or 0.0),
    )
    said = collect(events).text
    until = settings.get("until") or []
    for end in [until] if isinstance(until, str) else until:
        said = said.partition(end)[0] if end else said
    return said


@torch.inference_mode()
def continuation(model: OlaModel, messages: Sequence[Message]) -> tuple[float, bool]:
    """Score the answer that ends a conversation.

    Returns:
        The sum of its tokens' log-likelihoods in nats, and whether greedy decoding gives it.
    """
    prompt, labels = model.processor.example(messages)
    inputs = model.processor.collate([prompt], labels=[labels], padding_side="right")
    moved = {name: tensor.to(model.model.device) for name, tensor in inputs.items()}
    targets, mask = moved.pop("labels")[0, 1:], moved.pop("attention_mask")
    embeddings = model.model.embed(moved.pop("input_ids"), **moved)
    language_model: Any = model.model.language_model
    hidden = language_model.base_model(inputs_embeds=embeddings, attention_mask=mask)[0][0, :-1]
    chosen = targets != IGNORED
    logits = model.model.get_output_embeddings()(hidden[chosen]).float()  # [L, V]
    likely = logits.log_softmax(-1).gather(-1, targets[chosen, None])
    greedy = bool((logits.argmax(-1) == targets[chosen]).all())
    return float(likely.double().sum()), greedy
