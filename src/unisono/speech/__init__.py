"""Sound and words: voices that speak, listeners that write down, and what both need.

Knows nothing of models, engines or conversations' flow.
"""

from unisono.speech.cosyvoice import CosyVoiceVoice
from unisono.speech.devices import Loudspeakers, Microphone
from unisono.speech.listener import LISTENER_RATE_HZ, Listener, Transcript, Word
from unisono.speech.piper import PiperVoice
from unisono.speech.sentences import SentenceSplitter
from unisono.speech.voice import Pcm, Voice, is_speakable, normalise_for_speech
from unisono.speech.wav import WavWriter, to_int16, wav_bytes, wav_header
from unisono.speech.whisper import WhisperListener

__all__ = [
    "LISTENER_RATE_HZ",
    "CosyVoiceVoice",
    "Listener",
    "Loudspeakers",
    "Microphone",
    "Pcm",
    "PiperVoice",
    "SentenceSplitter",
    "Transcript",
    "Voice",
    "WavWriter",
    "WhisperListener",
    "Word",
    "is_speakable",
    "normalise_for_speech",
    "to_int16",
    "wav_bytes",
    "wav_header",
]
