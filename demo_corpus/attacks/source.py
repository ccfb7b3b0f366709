"""What an attack starts from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

MAX_SECONDS = 5.0
"""Longer recordings are cut here."""


@dataclass(frozen=True)
class Source:
    """A bona fide clip and who speaks in the attack.

    `wave` is float64 `(samples,)` at 16 kHz, band-limited and trimmed; `language` is an ISO 639-1 code; `voice` is the
    synthesiser's voice for text-to-speech attacks, the speaker's own name otherwise.
    """

    wave: np.ndarray
    language: str
    voice: str
