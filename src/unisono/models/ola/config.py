"""The shape of an Ola model: a language model, and the encoders and connectors around it.

Defaults are those of the released Ola-7b (REFERENCE: arXiv 2502.04328 and its code).
"""

from typing import Any, Literal, cast

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig
from transformers.configuration_utils import SubConfigSpec

from unisono.errors import ModelConfigError
from unisono.models.ola.processor_image import PictureSizes

Hearing = Literal["connector", "listener", "both"]
AudioWindow = Literal["chunk", "utterance"]
PromptForm = Literal["inference", "training"]
SubConfig = Any
"""A dict when given, a `PreTrainedConfig` once the config is made; None for none."""

_MARGIN_SAMPLES = 16_000
"""The silence behind an utterance in its window."""
_MEL_HOP = 160
"""Samples between two frames of a log-mel: windows are cut between them."""


@strict
class OlaConfig(PreTrainedConfig):
    """Configuration of an `OlaForConditionalGeneration`.

    Attributes:
        text_config: any causal language model of transformers.
        vision_config: the picture encoder ("oryx_vit"); None for a model that cannot see.
        speech_config: the first hearing encoder, fed log-mels ("whisper"); None for none.
        sound_config: the second hearing encoder, fed 16 kHz samples ("beats"); None for none.
            Its output is concatenated to the first's, channel by channel.
        system_prompt: said to the model when a conversation has no system message of its own;
            None leaves that to the chat template.
        hearing: how the words of a sound reach the language model: as embeddings through the
            "connector", as the text a "listener" wrote down, or "both".
        spoken_language: what a listener is to expect ("en"); None lets it find out, which goes
            wrong now and then with short questions.
        audio_chunk_s: seconds of sound an encoder sees at once; the last chunk is zero-padded.
        audio_window: what of a chunk the encoders see: the whole "chunk", as Ola's do, or the
            "utterance": the sound in it and one second more, rounded up to whole tokens. A short
            sound then makes few tokens and costs little.
        audio_max_chunks: chunks heard of one sound.
        audio_frames_per_chunk: frames the longest encoder makes of a chunk.
        audio_stack: adjacent frames that make one token.
        audio_connector_width: hidden width of the audio connector.
        vision_pool: side of the square of patches that makes one token: 1, 2 or 4.
        picture_sizes: fields of `PictureSizes` that differ from Ola's: how large a picture or a
            video frame may be.
        video_frames: frames that are seen of a video, evenly spaced.
        prompt_form: where newlines stand between media. Ola's training data has one after each
            medium of a turn with sound, its inference script only one after all of them.
        image_token_id, audio_token_id, video_token_id: placeholders in `input_ids`. They lie
            beyond the vocabulary and are never looked up; None puts them right behind it.
    """

    model_type = "ola"
    sub_configs_defaults = {  # noqa: RUF012 -- the way transformers declares nested configs
        "text_config": SubConfigSpec(config_class=AutoConfig, model_type="qwen2"),
        "vision_config": SubConfigSpec(AutoConfig, model_type="oryx_vit", optional=True),
        "speech_config": SubConfigSpec(AutoConfig, model_type="whisper", optional=True),
        "sound_config": SubConfigSpec(AutoConfig, model_type="beats", optional=True),
    }

    text_config: SubConfig = None
    vision_config: SubConfig = None
    speech_config: SubConfig = None
    sound_config: SubConfig = None
    system_prompt: str | None = None
    hearing: Hearing = "connector"
    spoken_language: str | None = None
    audio_chunk_s: float = 30.0
    audio_window: AudioWindow = "chunk"
    audio_max_chunks: int = 25
    audio_frames_per_chunk: int = 1500
    audio_stack: int = 10
    audio_connector_width: int = 2048
    vision_pool: int = 2
    picture_sizes: dict[str, Any] | None = None
    video_frames: int = 64
    prompt_form: PromptForm = "inference"
    image_token_id: int | None = None
    audio_token_id: int | None = None
    video_token_id: int | None = None
    tie_word_embeddings: bool = False

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        vocabulary = self.text_config.vocab_size
        for offset, kind in enumerate(("image", "audio", "video")):
            if getattr(self, f"{kind}_token_id") is None:
                setattr(self, f"{kind}_token_id", vocabulary + offset)
        self.tie_word_embeddings = self.text_config.tie_word_embeddings
        if self.audio_frames_per_chunk % self.audio_stack:
            raise ModelConfigError(
                f"audio_frames_per_chunk must be a multiple of audio_stack ({self.audio_stack}), "
                f"but is {self.audio_frames_per_chunk} instead"
            )
        self._check_windows()
        self._check_units()

    def _check_windows(self) -> None:
        """Windows must end between two frames, and the sound encoder must be able to hear them."""
        samples = self.audio_chunk_samples * self.audio_stack
        if self.audio_window == "utterance" and samples % (self.audio_frames_per_chunk * _MEL_HOP):
            raise ModelConfigError(
                "with audio_window 'utterance' a token must last a multiple of 10 ms, but lasts "
                f"{samples / self.audio_frames_per_chunk / 16:.3g} ms instead"
            )
        longest = getattr(self.sound_config, "longest_samples", None)
        if longest is not None and self.audio_chunk_samples > longest:
            raise ModelConfigError(
                f"audio_chunk_s must be at most {longest / 16_000:.4g}, all that the sound encoder "
                f"can hear at once, but is {self.audio_chunk_s:g} instead"
            )

    def _check_units(self) -> None:
        """Pictures must be divisible into the squares of patches that make a token."""
        if self.vision_config is None:
            return
        cell, sizes = self.vision_config.patch_size * self.vision_pool, self.sizes
        for name in ("lowres_unit", "highres_unit", "video_unit", "square_px", "video_square_px"):
            if (unit := getattr(sizes, name) or 0) % cell:
                raise ModelConfigError(
                    f"{name} must be a multiple of patch_size x vision_pool ({cell}), "
                    f"but is {unit} instead"
                )

    @property
    def placeholder_ids(self) -> tuple[int, int, int]:
        """The image, audio and video placeholder ids."""
        ids = (self.image_token_id, self.audio_token_id, self.video_token_id)
        return cast(tuple[int, int, int], ids)  # __post_init__ left none of them open

    @property
    def sizes(self) -> PictureSizes:
        """How large pictures and video frames may be.

        The mean and deviation of pixels are those the vision encoder asks for, unless
        `picture_sizes` says otherwise.

        Raises:
            ModelConfigError: `picture_sizes` has unknown fields, or fields that contradict.
        """
        asked = {n: getattr(self.vision_config, f"pixel_{n}", None) for n in ("mean", "std")}
        own = {name: value for name, value in asked.items() if value is not None}
        return PictureSizes.from_dict(own | (self.picture_sizes or {}))

    @property
    def hears_sound(self) -> bool:
        """Whether sound itself, not only the words in it, reaches the language model."""
        has_encoder = self.speech_config is not None or self.sound_config is not None
        return has_encoder and self.hearing != "listener"

    @property
    def audio_chunk_samples(self) -> int:
        """Samples of a chunk at 16 kHz."""
        return round(self.audio_chunk_s * 16_000)

    @property
    def audio_tokens_per_chunk(self) -> int:
        """Tokens of a whole chunk, its newline included."""
        return self.audio_frames_per_chunk // self.audio_stack + 1

    @property
    def audio_lengths_matter(self) -> bool:
        """Whether the encoders must be told where the sound in a chunk ends."""
        takes_lengths = bool(getattr(self.sound_config, "takes_lengths", False))
        return self.audio_window == "utterance" or takes_lengths

    def audio_window_tokens(self, samples: int) -> int:
        """Tokens of a chunk with so many samples of sound in it, its newline not included."""
        whole = self.audio_tokens_per_chunk - 1
        if self.audio_window == "chunk":
            return whole
        return min(whole, -(-(samples + _MARGIN_SAMPLES) // self._samples_per_token))

    def audio_window_samples(self, tokens: int) -> int:
        """Samples of a window that makes so many tokens."""
        if self.audio_window == "chunk":
            return self.audio_chunk_samples
        return tokens * self._samples_per_token

    def audio_window_mels(self, tokens: int) -> int:
        """Frames of the log-mel of a window that makes so many tokens."""
        return self.audio_window_samples(tokens) // _MEL_HOP

    @property
    def _samples_per_token(self) -> int:
        return self.audio_chunk_samples * self.audio_stack // self.audio_frames_per_chunk
