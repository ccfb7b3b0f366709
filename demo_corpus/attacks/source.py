"""The input of an attack."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

MAX_SECONDS = 5.0
"""Longer recordings are cut to this duration."""


@dataclass(frozen=True)
class Source:
    """A bona fide clip and the voice of the attack.

    `wave` is float64 `(samples,)` at 16 kHz, band-limited and trimmed; `language` is an ISO 639-1 code; `voice` is the
    synthesiser's voice for text-to-speech attacks, and the speaker's name otherwise.
    """

    wave: np.ndarray
    language: str
    voice: str
