"""Configs say the same after a round trip, and contradictions are refused."""

from pathlib import Path
from typing import Any

import pytest
import tiny
from transformers import AutoConfig

from unisono.errors import ModelConfigError
from unisono.models.ola import OlaConfig

KINDS = [{}, {"speech": True}, {"sound": True}, {"speech": True, "sound": True}]


@pytest.mark.parametrize("kinds", KINDS)
@pytest.mark.parametrize("hearing", ["connector", "listener", "both"])
def test_round_trip(kinds: dict[str, bool], hearing: str, tmp_path: Path) -> None:
    config = tiny.ola_config(hearing=hearing, system_prompt="Be kind.", **kinds)
    config.save_pretrained(tmp_path)
    for again in (OlaConfig.from_pretrained(tmp_path), AutoConfig.from_pretrained(tmp_path)):
        assert isinstance(again, OlaConfig)
        assert again.to_dict() | {"_name_or_path": ""} == config.to_dict()
        assert type(again.text_config) is type(config.text_config)
        assert type(again.speech_config) is type(config.speech_config)
        assert type(again.sound_config) is type(config.sound_config)


def test_placeholders_lie_behind_the_vocabulary_unless_told() -> None:
    config = tiny.ola_config()
    size = config.text_config.vocab_size
    assert config.placeholder_ids == (size, size + 1, size + 2)
    assert tiny.ola_config(audio_token_id=5).placeholder_ids == (size, 5, size + 2)


def test_hearing_and_encoders_together_decide_what_is_heard() -> None:
    assert tiny.ola_config(speech=True).hears_sound
    assert tiny.ola_config(sound=True, hearing="both").hears_sound
    assert not tiny.ola_config(speech=True, hearing="listener").hears_sound
    assert not tiny.ola_config(hearing="connector").hears_sound


def test_derived_sizes() -> None:
    config = tiny.ola_config(speech=True)
    assert config.audio_chunk_samples == 16_000
    assert config.audio_tokens_per_chunk == 50 // 10 + 1
    assert config.tie_word_embeddings is config.text_config.tie_word_embeddings is True


def test_contradictions_are_refused() -> None:
    with pytest.raises(ModelConfigError, match="multiple of audio_stack \\(7\\), but is 50"):
        tiny.ola_config(speech=True, audio_stack=7)
    with pytest.raises(Exception, match="hearing"):
        tiny.ola_config(hearing="telepathy")


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"vision_pool": 4}, "lowres_unit must be a multiple of .*64.*but is 32"),
        ({"picture_sizes": {"video_unit": 48}}, "video_unit must be a multiple of .*32.*is 48"),
        ({"picture_sizes": {"colour": 3}}, "unknown fields: colour"),
    ],
)
def test_pictures_that_cannot_be_cut_into_tokens(settings: dict[str, Any], match: str) -> None:
    with pytest.raises(ModelConfigError, match=match):
        OlaConfig(vision_config={"model_type": "oryx_vit"}, **settings)
