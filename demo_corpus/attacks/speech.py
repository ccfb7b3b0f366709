"""Text-to-speech: eSpeak NG and Piper in a separate program, hibari in this process."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import soxr

from aasist_lib.audio import RATE
from demo_corpus import external
from demo_corpus.attacks.source import MAX_SECONDS, Source
from demo_corpus.channel import trim
from demo_corpus.texts import TEXTS

_LETTER_SECONDS = 0.05
_STRAY = 0.1


def espeak(source: Source, rng: np.random.Generator) -> np.ndarray:
    """Formant synthesis of sentences in the source's language, with the voice `espeak-<voice>`, `(samples,)`."""
    voice = source.voice.removeprefix("espeak-")
    style: dict[str, Any] = {
        "rate": int(rng.integers(140, 185)),
        "pitch": int(rng.integers(35, 65)),
        "range": int(rng.integers(35, 65)),
    }
    return _speak(source, rng, lambda text: external.call("espeak", text=text, voice=voice, **style))


def piper(source: Source, rng: np.random.Generator) -> np.ndarray:
    """Synthesis in English by VITS, an end-to-end neural network, `(samples,)`."""
    style: dict[str, Any] = {"seed": int(rng.integers(1, 2**31)), "slowness": float(rng.uniform(0.9, 1.15))}
    return _speak(source, rng, lambda text: external.call("piper", text=text, **style))


def hibari(source: Source, rng: np.random.Generator) -> np.ndarray:
    """Synthesis in English by a small neural network distilled from Kokoro, `(samples,)`."""
    style: dict[str, Any] = {"seed": int(rng.integers(1, 2**31)), "speed": float(rng.uniform(0.9, 1.15))}
    return _speak(source, rng, lambda text: soxr.resample(_hibari()(text, **style), 24_000, RATE))


def _speak(source: Source, rng: np.random.Generator, say: Callable[[str], np.ndarray]) -> np.ndarray:
    """Speak sentences for about the source's duration, cut at a quiet moment, `(samples,)`."""
    texts = TEXTS[source.language if source.voice.startswith("espeak") else "en"]
    order = rng.permutation(len(texts))
    wanted = round(len(source.wave) * (1 + _STRAY))
    text, spoken = "", np.zeros(0)
    for number in range(len(texts)):
        text = f"{text} {texts[order[number]]}".strip()
        if len(text) * _LETTER_SECONDS < wanted / RATE:
            continue
        spoken = trim(say(text))
        if len(spoken) >= wanted:
            break
    return spoken[: _end(spoken, len(source.wave))]


def _end(spoken: np.ndarray, samples: int) -> int:
    """Return the quietest moment within 10 % of a duration in samples; the exact duration if the source itself was cut."""
    if samples >= MAX_SECONDS * RATE:
        return samples
    frame = RATE // 50
    first, last = round(samples * (1 - _STRAY)), min(round(samples * (1 + _STRAY)), len(spoken))
    if last - first < frame:  # all sentences together are too short
        return samples
    loudness = np.convolve(spoken[first:last] ** 2, np.ones(frame), mode="valid")
    return first + int(np.argmin(loudness)) + frame // 2


@cache
def _hibari() -> Any:
    from hibari import Hibari

    return Hibari(threads=1)
