"""Ola over encoders of the other family: composed by configs alone, and windows of utterances."""

from pathlib import Path

import composed
import numpy as np
import pytest
import tiny
import torch
from composed import asked, heard, sound_tokens
from PIL import Image
from torch import Tensor
from transformers import WhisperConfig
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from unisono.conversation import AudioPart, ImagePart, VideoPart
from unisono.errors import ModelConfigError
from unisono.models.ola import OlaForConditionalGeneration, OlaProcessor
from unisono.models.ola.encoders_only import load_encoders
from unisono.models.ola.prompt import AudioSpan, ImageSpan
from unisono.models.ola.whisper import WindowedWhisperEncoder
from unisono.models.onepeace import OnePeaceModel
from unisono.models.onepeace.branch import OnePeaceSoundModel, OnePeaceVisionModel
from unisono.models.onepeace.processor import OnePeaceProcessor

SOUNDS = [heard(0.5), heard(1.23, 500), heard(0.5, 200), heard(3.4, 700), heard(5.5, 900)]


def picture(seed: int = 0, width: int = 90, height: int = 50) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.fixture(scope="module")
def ola() -> tuple[OlaForConditionalGeneration, OlaProcessor]:
    return composed.ola()


def test_the_encoders_are_the_branches(
    ola: tuple[OlaForConditionalGeneration, OlaProcessor],
) -> None:
    encoders = ola[0].encoders
    assert isinstance(encoders.vision, OnePeaceVisionModel)
    assert encoders.hearing is not None
    assert isinstance(encoders.hearing.sound, OnePeaceSoundModel)
    assert isinstance(encoders.hearing.speech, WindowedWhisperEncoder)


@pytest.mark.parametrize(
    ("seconds", "tokens"), [(0.5, 15), (0.51, 16), (2.95, 40), (3.9, 40), (4.0, 40), (5.5, 40 + 25)]
)
def test_a_window_is_the_utterance_and_a_second(
    ola: tuple[OlaForConditionalGeneration, OlaProcessor], seconds: float, tokens: int
) -> None:
    (span,) = ola[1].prompt(asked(AudioPart(audio=heard(seconds)))).spans
    assert isinstance(span, AudioSpan)
    chunks = -(-round(seconds * 16_000) // 64_000)
    assert span.length == tokens + chunks + 2
    assert span.chunks.shape == (chunks, min(64_000, tokens * 1_600))
    assert sum(span.lengths or ()) == round(seconds * 16_000)


@torch.no_grad()
def test_sounds_in_a_batch_are_heard_as_alone(
    ola: tuple[OlaForConditionalGeneration, OlaProcessor],
) -> None:
    together = sound_tokens(*ola, SOUNDS)
    for tokens, sound in zip(together, SOUNDS, strict=True):
        (alone,) = sound_tokens(*ola, [sound])
        torch.testing.assert_close(tokens, alone, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(together[0], together[2], atol=0.01), "sounds differ"


@torch.no_grad()
def test_a_batch_of_conversations_is_answered_as_each_alone(
    ola: tuple[OlaForConditionalGeneration, OlaProcessor],
) -> None:
    model, processor = ola
    talks = [
        asked(AudioPart(audio=one), ImagePart(image=picture(i))) for i, one in enumerate(SOUNDS)
    ]
    batch = model(**processor(talks)).logits[:, -1]
    alone = torch.stack([model(**processor(one)).logits[0, -1] for one in talks])
    torch.testing.assert_close(batch, alone, rtol=1e-3, atol=1e-3)


def test_slices_change_nothing(ola: tuple[OlaForConditionalGeneration, OlaProcessor]) -> None:
    model, processor = ola
    spans = [processor.prompt(asked(AudioPart(audio=one))).spans[0] for one in SOUNDS[:1] * 6]
    media = processor.media_tensors(spans)
    given = (media["audio_mels"], media["audio_samples"], media["audio_lengths"])
    with torch.no_grad():
        sliced = model.encoders.hear(*given)
    torch.testing.assert_close(sliced, model.encoders.hear(*given), rtol=1e-4, atol=1e-5)
    assert sliced.shape == (6 * 15, 5, 32), "units of a token: its frames, both encoders' channels"


@torch.no_grad()
def test_what_reaches_the_connector_is_what_the_encoders_make(
    ola: tuple[OlaForConditionalGeneration, OlaProcessor],
) -> None:
    model, processor = ola
    (span,) = processor.prompt(asked(AudioPart(audio=heard(0.7)))).spans
    media = processor.media_tensors([span])
    units = model.encoders.hear(media["audio_mels"], media["audio_samples"], media["audio_lengths"])
    frames = units.flatten(0, 1)  # 1.7 s
    assert frames.shape == (85, 32)
    hearing = model.encoders.hearing
    assert hearing is not None
    speech = hearing.speech(media["audio_mels"]).last_hidden_state[0]
    assert torch.equal(frames[:, :16], speech)
    sound = hearing.sound(torch.from_numpy(heard(0.7))[None]).last_hidden_state[0]
    torch.testing.assert_close(frames[: len(sound), 16:], sound, rtol=1e-4, atol=1e-5)
    assert frames[len(sound) : 49, 16:].any(), "under a second: repeated, as ONE-PEACE has it"
    assert not frames[50:, 16:].any()


@torch.no_grad()
def test_whisper_hears_a_shorter_window_as_one_made_for_it() -> None:
    sizes = {"d_model": 16, "encoder_layers": 2, "encoder_attention_heads": 2}
    sizes |= {"encoder_ffn_dim": 32, "num_mel_bins": 80}
    whole = WindowedWhisperEncoder(WhisperConfig(**sizes, max_source_positions=50)).eval()
    short = WhisperEncoder(WhisperConfig(**sizes, max_source_positions=31)).eval()
    weights = whole.state_dict()
    weights["embed_positions.weight"] = weights["embed_positions.weight"][:31]
    short.load_state_dict(weights)
    mels = torch.randn(3, 80, 100)
    assert torch.equal(whole(mels[..., :62]).last_hidden_state, short(mels[..., :62])[0])
    plain = WhisperEncoder(whole.config).eval()
    plain.load_state_dict(whole.state_dict())
    assert torch.equal(whole(mels).last_hidden_state, plain(mels).last_hidden_state)
    with pytest.raises(ValueError, match="mel input features"):
        whole(torch.randn(1, 80, 102))


@torch.no_grad()
def test_chunks_of_equal_length_are_encoded_as_ever() -> None:
    """Windows of "chunk" and of "utterance" agree where a sound fills its chunks."""
    by_utterance, processor = composed.ola()
    by_chunk, other = composed.ola(audio_window="chunk")
    full = [heard(4.0), heard(8.0, 500)]
    for one, two in zip(
        sound_tokens(by_utterance, processor, full),
        sound_tokens(by_chunk, other, full),
        strict=True,
    ):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-5)
    (short,) = sound_tokens(by_chunk, other, [heard(0.5)])
    assert len(short) == 40 + 3, "the whole chunk"


@torch.no_grad()
def test_pictures_are_seen_as_by_onepeace() -> None:
    whole, _ = tiny.onepeace(image_config={"position_grid": 4, "bias_grid": 4, "stem_width": 8})
    vision = {"model_type": "onepeace_vision", **_fields(whole)}
    model, processor = composed.ola(vision_config=vision)
    branch = OnePeaceVisionModel.from_onepeace(whole)
    model.encoders.vision.load_state_dict(branch.state_dict())
    (span,) = processor.prompt(asked(ImagePart(image=picture()))).spans
    assert isinstance(span, ImageSpan)
    assert [one.shape for one in span.pictures] == [(64, 64, 3)], "one square picture"
    assert span.length == 2 * (2 + 1) + 2
    media = processor.media_tensors([span])
    inputs = OnePeaceProcessor.from_config(tiny.onepeace_tokenizer(), whole.config)
    pixels = inputs(images=[picture()])
    expected = whole(**pixels).last_hidden_states["image"][0, 1:]
    seen = model.encoders.see(media["pixel_patches"], media["patch_grids"])
    torch.testing.assert_close(seen, expected, rtol=1e-5, atol=1e-5)


def _fields(whole: OnePeaceModel) -> dict[str, object]:
    names = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    return {
        **{name: getattr(whole.config, name) for name in names},
        "image_config": whole.config.image_config.to_dict(),
    }


@torch.no_grad()
def test_a_clip_is_few_squares(ola: tuple[OlaForConditionalGeneration, OlaProcessor]) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (4, 40, 60, 3), dtype=np.uint8)
    model, processor = ola
    prompt = processor.prompt(asked(VideoPart(video=list(frames))))
    (span,) = prompt.spans
    assert isinstance(span, ImageSpan)
    assert {one.shape for one in span.pictures} == {(32, 32, 3)}
    assert span.length == 4 * (1 * (1 + 1) + 1) + 2
    assert model(**processor.collate([prompt])).logits.isfinite().all()


def test_it_is_saved_and_loaded_as_one(tmp_path: Path) -> None:
    model, processor = composed.ola()
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    again = OlaForConditionalGeneration.from_pretrained(tmp_path).eval()
    reader = OlaProcessor.from_pretrained(tmp_path)
    question = asked(AudioPart(audio=heard(0.8)), ImagePart(image=picture()))
    with torch.no_grad():
        assert torch.equal(model(**processor(question)).logits, again(**reader(question)).logits)
        answer = again.generate(**reader(question), max_new_tokens=3, do_sample=False)
        assert answer.shape == (1, 3 + reader(question)["input_ids"].shape[1])
        alone = load_encoders(tmp_path)
        (expected,) = sound_tokens(model, processor, [heard(0.8)])
        (span,) = reader.prompt(asked(AudioPart(audio=heard(0.8)))).spans
        (found,) = alone.each(**reader.media_tensors([span]))[model.config.audio_token_id]
    assert torch.equal(found, expected)


def test_every_parameter_that_should_learns() -> None:
    model, processor = composed.ola()
    batch = processor(asked(AudioPart(audio=heard(0.6)), ImagePart(image=picture())))
    model.train()(**batch).logits.float().logsumexp(-1).sum().backward()
    learning = {n: p.grad for n, p in model.encoders.named_parameters() if p.requires_grad}
    assert all(gradient is not None for gradient in learning.values()), "ranks would wait for it"
    idle = [n for n, gradient in learning.items() if gradient is not None and not gradient.any()]
    assert idle == ["vision_connector.separator"], "there is no second picture"


class TestHearing:
    """How the words of a sound reach the language model."""

    def read(self, processor: OlaProcessor, text: str = "Who is it?") -> tuple[str, int]:
        part = AudioPart(audio=heard(0.5), transcript="the quick dog")
        prompt = processor.prompt(asked(part, text=text))
        audio_id = processor.config.audio_token_id
        words = [token for token in prompt.ids if token != audio_id]
        return processor.tokenizer.decode(words), len(prompt.ids) - len(words)

    def test_connector(self, ola: tuple[OlaForConditionalGeneration, OlaProcessor]) -> None:
        text, tokens = self.read(ola[1])
        assert "quick" not in text
        assert tokens == 15 + 3

    def test_listener(self, ola: tuple[OlaForConditionalGeneration, OlaProcessor]) -> None:
        text, tokens = self.read(ola[1].with_hearing("listener"))
        assert 'Words heard: "the quick dog"' in text
        assert tokens == 0

    def test_both(self, ola: tuple[OlaForConditionalGeneration, OlaProcessor]) -> None:
        text, tokens = self.read(ola[1].with_hearing("both"))
        assert 'Words heard: "the quick dog"' in text
        assert tokens == 15 + 3
        assert ola[1].config.hearing == "connector", "the other processor stays as it is"

    def test_it_is_kept_where_it_is_saved(
        self, ola: tuple[OlaForConditionalGeneration, OlaProcessor], tmp_path: Path
    ) -> None:
        ola[1].with_hearing("both").save_pretrained(tmp_path)
        assert OlaProcessor.from_pretrained(tmp_path).config.hearing == "both"

    def test_no_other_way(self, ola: tuple[OlaForConditionalGeneration, OlaProcessor]) -> None:
        with pytest.raises(ModelConfigError, match="connector, listener, both"):
            ola[1].with_hearing("ears")  # type: ignore[arg-type]


class TestConfig:
    """What does not fit is refused by name."""

    def test_longer_chunks_than_the_sound_encoder_hears(self) -> None:
        with pytest.raises(ModelConfigError, match="audio_chunk_s must be at most 20.46"):
            composed.config(audio_chunk_s=30.0, audio_frames_per_chunk=1500)

    def test_tokens_that_end_between_frames(self) -> None:
        with pytest.raises(ModelConfigError, match="a token must last a multiple of 10 ms"):
            composed.config(audio_frames_per_chunk=190)

    def test_squares_that_are_no_whole_cells(self) -> None:
        with pytest.raises(ModelConfigError, match="square_px must be a multiple of .*32"):
            composed.config(picture_sizes={"square_px": 48})

    def test_lengths_must_be_given(
        self, ola: tuple[OlaForConditionalGeneration, OlaProcessor]
    ) -> None:
        (span,) = ola[1].prompt(asked(AudioPart(audio=heard(0.5)))).spans
        media: dict[str, Tensor] = ola[1].media_tensors([span])
        del media["audio_lengths"]
        with pytest.raises(ValueError, match="audio_lengths must be given for 1 chunks"):
            ola[0].encoders.each(**media)

    def test_pixels_are_scaled_as_the_encoder_asks(self) -> None:
        assert composed.config().sizes.mean == pytest.approx((0.4815, 0.4578, 0.4082), abs=1e-4)
        assert tiny.ola_config(vision=True).sizes.mean == (0.5, 0.5, 0.5)
        own = {"square_px": 64, "mean": [0.1, 0.2, 0.3]}
        assert composed.config(picture_sizes=own).sizes.mean == (0.1, 0.2, 0.3)
