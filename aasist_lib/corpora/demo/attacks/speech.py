"""Text-to-speech: eSpeak NG and Piper in a separate program, hibari in this one."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import soxr

from aasist_lib.audio import RATE
from aasist_lib.corpora.demo import external
from aasist_lib.corpora.demo.attacks.source import Source
from aasist_lib.corpora.demo.channel import trim
from aasist_lib.corpora.demo.texts import TEXTS

_SYLLABLE_SECONDS = 0.055


def espeak(source: Source, rng: np.random.Generator) -> np.ndarray:
    """Formant synthesis of sentences in the source's language, by the voice `espeak-<voice>`, `(samples,)`."""
    voice = source.voice.removeprefix("espeak-")
    style = {
        "rate": int(rng.integers(140, 185)),
        "pitch": int(rng.integers(35, 65)),
        "range": int(rng.integers(35, 65)),
    }
    return _speak(source, rng, lambda text: external.call("espeak", text=text, voice=voice, **style))


def piper(source: Source, rng: np.random.Generator) -> np.ndarray:
    """VITS, an end-to-end neural network, in English, `(samples,)`."""
    style = {"seed": int(rng.integers(1, 2**31)), "slowness": float(rng.uniform(0.9, 1.15))}
    return _speak(source, rng, lambda text: external.call("piper", text=text, **style))


def hibari(source: Source, rng: np.random.Generator) -> np.ndarray:
    """A small neural network distilled from Kokoro, in English, `(samples,)`."""
    style = {"seed": int(rng.integers(1, 2**31)), "speed": float(rng.uniform(0.9, 1.15))}
    return _speak(source, rng, lambda text: soxr.resample(_hibari()(text, **style), 24_000, RATE))


def _speak(source: Source, rng: np.random.Generator, say: Callable[[str], np.ndarray]) -> np.ndarray:
    """Sentences until the source's duration is reached, then cut to it as the source itself was cut."""
    texts = TEXTS[source.language if source.voice.startswith("espeak") else "en"]
    order = rng.permutation(len(texts))
    text, spoken = "", np.zeros(0)
    while len(spoken) < len(source.wave):
        while len(text) * _SYLLABLE_SECONDS < len(source.wave) / RATE or not text:
            text += texts[order[0]] + " "
            order = np.roll(order, -1)
        spoken = trim(say(text.strip()))
        if len(spoken) < len(source.wave):
            text += texts[order[0]] + " "
            order = np.roll(order, -1)
    return spoken[: len(source.wave)]


@cache
def _hibari() -> Any:
    from hibari import Hibari

    return Hibari(threads=1)
