"""Quality of a recording, measured block by block: loudness, clipping, bandwidth, and warnings about its score.

Only energy is measured: recordings without speech-like levels are found, but music or noise count as speech.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from aasist_lib.audio.io import RATE

FRAME = RATE // 50
"""Samples of a frame of 20 ms."""
SILENT_DB, RANGE_DB = -60.0, 40.0
"""A frame is silent below the former (dB re full scale), or if it is the latter (dB) below the loudest frame."""
SHORTEST_SECONDS, LEAST_SPEECH_SECONDS = 1.0, 0.5
FULL_SCALE, CLIPPED_SHARE = 0.99, 1e-3
"""Amplitude from which a sample counts as clipped, and the share of clipped samples for a warning."""
SPEECH_BAND_HZ, UPPER_BAND_HZ = (300, 3_400), (4_300, 7_500)
NARROW_DB = -55.0
"""Mean power density of the upper band re that of the speech band, in dB, below which nothing is taken to be there. Of 300 eval
clips of the demo none lies below -42; the same at 8 kHz and back, in 16 bits, none above -67."""


class AudioQuality:
    """Peak and level of every frame, share of clipped samples and mean spectrum of a wave given in blocks.

    >>> levels = AudioQuality()
    >>> for block in levels.watching(audio.blocks("talk.mp3")):
    ...     pass
    >>> levels.warnings()
    """

    def __init__(self) -> None:
        self.samples = 0
        self._clipped = 0
        self._rest = np.zeros(0, np.float32)
        self._peaks: list[NDArray[np.float32]] = []
        self._powers: list[NDArray[np.float32]] = []
        self._spectrum = np.zeros(FRAME // 2 + 1)

    def watching(self, blocks: Iterable[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
        """Yield the same blocks `(samples,)` at 16 kHz while measuring them; the last frame is zero-padded."""
        for block in blocks:
            self.samples += len(block)
            self._clipped += int(np.count_nonzero(np.abs(block) >= FULL_SCALE))
            wave = np.concatenate((self._rest, block))
            whole = len(wave) // FRAME * FRAME
            self._add(wave[:whole].reshape(-1, FRAME))
            self._rest = wave[whole:]
            yield block
        if len(self._rest):
            self._add(np.pad(self._rest, (0, FRAME - len(self._rest)))[None])

    def _add(self, frames: NDArray[np.float32]) -> None:
        self._peaks.append(np.abs(frames).max(axis=1))
        self._powers.append(np.mean(np.square(frames), axis=1))
        self._spectrum += np.square(np.abs(np.fft.rfft(frames * np.hanning(FRAME), axis=1))).sum(axis=0)

    @property
    def peaks(self) -> NDArray[np.float32]:
        """The largest absolute sample of each frame, `(frames,)`."""
        return np.concatenate(self._peaks)

    @property
    def loud(self) -> NDArray[np.bool_]:
        """Whether each frame is loud enough to be speech, bool `(frames,)`."""
        level = 10 * np.log10(np.concatenate(self._powers) + 1e-12)
        return level >= max(SILENT_DB, level.max() - RANGE_DB)

    @property
    def loud_seconds(self) -> float:
        """Seconds that are loud enough to be speech."""
        return min(int(self.loud.sum()) * FRAME, self.samples) / RATE

    def undecided(self) -> str | None:
        """Why no decision is possible; None if one is."""
        if self.loud_seconds >= LEAST_SPEECH_SECONDS:
            return None
        return "too short" if self.samples < LEAST_SPEECH_SECONDS * RATE else "no speech"

    def warnings(self) -> tuple[str, ...]:
        """Warnings about the score of this recording, one sentence each."""
        loud, seconds = self.loud_seconds, self.samples / RATE
        clipped, upper = self._clipped / self.samples, self._upper_band()
        found = []
        if seconds < SHORTEST_SECONDS:
            found.append(f"very short: {seconds:.2f} s")
        if loud < LEAST_SPEECH_SECONDS:
            found.append(f"almost no speech: {loud:.2f} s are louder than {SILENT_DB:.0f} dB re full scale")
        if clipped > CLIPPED_SHARE:
            found.append(f"clipped: {clipped:.1%} of the samples are at full scale")
        if upper < NARROW_DB and loud:
            found.append("narrow band: nothing above 4 kHz, as on a telephone")
        return tuple(found)

    def _upper_band(self) -> float:
        """Mean power density of the upper band re that of the speech band, in dB."""
        hertz = np.arange(len(self._spectrum)) * RATE / FRAME
        speech, upper = (
            self._spectrum[(hertz >= low) & (hertz <= high)].mean() for low, high in (SPEECH_BAND_HZ, UPPER_BAND_HZ)
        )
        return float(10 * np.log10((upper + 1e-20) / (speech + 1e-20)))
