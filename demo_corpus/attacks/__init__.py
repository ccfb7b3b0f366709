"""The demo's attacks: thirteen ways to make synthetic or converted speech, each `(Source, rng) -> waveform`.

Copies and conversions start from a bona fide clip of the same speaker. Text-to-speech uses only the clip's language and
duration.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from demo_corpus.attacks import lpc, neural, phase, praat, speech, world
from demo_corpus.attacks.source import Source

__all__ = ["ATTACKS", "KNOWN_ATTACKS", "TTS_ATTACKS", "UNSEEN_ATTACKS", "Source"]

ATTACKS: dict[str, Callable[[Source, np.random.Generator], np.ndarray]] = {
    "world-copy": world.copy,
    "world-convert": world.convert,
    "mlsa": lpc.mel_cepstral,
    "griffin-lim-mel": phase.mel,
    "psola": praat.psola,
    "neural-istft": neural.istft,
    "neural-codec": neural.codec,
    "espeak": speech.espeak,
    "neural-upsampling": neural.upsampling,
    "griffin-lim": phase.linear,
    "lpc-pulse": lpc.linear_prediction,
    "hibari": speech.hibari,
    "piper": speech.piper,
}
KNOWN_ATTACKS = ("world-copy", "world-convert", "mlsa", "griffin-lim-mel", "psola", "neural-istft", "neural-codec", "espeak")
"""Attacks in train, dev and eval: a vocoder copy, a vocoder conversion, a mel-cepstral vocoder, a phase reconstruction, a
waveform conversion, two neural vocoders and a formant synthesiser."""
UNSEEN_ATTACKS = ("neural-upsampling", "griffin-lim", "lpc-pulse", "hibari", "piper")
"""Attacks in eval only: a third neural vocoder, the two neural synthesisers (each has one voice, which cannot be disjoint
between splits), the attack closest to its source (linear Griffin-Lim) and the easiest one (linear prediction from pulses)."""
TTS_ATTACKS = ("espeak", "hibari", "piper")
"""Text-to-speech attacks, with their own voice and text; except for eSpeak, also with their own language."""
