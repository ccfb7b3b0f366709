"""The demo's attacks: ten ways to make speech that nobody said, each `(Source, rng) -> waveform`.

Copies and conversions start from a bona fide clip of the same speaker; text-to-speech takes from it only the
language and the duration.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from demo_corpus.attacks import lpc, phase, praat, speech, world
from demo_corpus.attacks.source import Source

__all__ = ["ATTACKS", "KNOWN_ATTACKS", "TTS_ATTACKS", "UNSEEN_ATTACKS", "Source"]

ATTACKS: dict[str, Callable[[Source, np.random.Generator], np.ndarray]] = {
    "world-copy": world.copy,
    "world-convert": world.convert,
    "mlsa": lpc.mel_cepstral,
    "griffin-lim-mel": phase.mel,
    "psola": praat.psola,
    "espeak": speech.espeak,
    "griffin-lim": phase.linear,
    "lpc-pulse": lpc.linear_prediction,
    "hibari": speech.hibari,
    "piper": speech.piper,
}
KNOWN_ATTACKS = ("world-copy", "world-convert", "mlsa", "griffin-lim-mel", "psola", "espeak")
"""In train, dev and eval: one of each of a vocoder copy, a vocoder conversion, a mel-cepstral vocoder, a phase
reconstruction, a waveform conversion and a formant synthesiser."""
UNSEEN_ATTACKS = ("griffin-lim", "lpc-pulse", "hibari", "piper")
"""In eval only: the two neural voices (one voice each, so they could not be disjoint by split), the attack
closest to its source (linear Griffin-Lim) and the easiest (linear prediction from pulses)."""
TTS_ATTACKS = ("espeak", "hibari", "piper")
"""Attacks with a voice, a text and, but for eSpeak, a language of their own."""
