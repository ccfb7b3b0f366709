"""Narrow-band telephone transmission and packet loss."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
from scipy.signal import fftconvolve, firwin

from aasist_lib.audio import RATE
from aasist_lib.augment.base import AugmentationError, Distortion, new_seed
from aasist_lib.augment.codecs import CODECS, CodecCompression
from aasist_lib.augment.noise import Noise

BAND_HZ = (300, 3400)
"""Pass band of a telephone line."""
BITS = 7
"""Of a sample in the paper's telephone."""
FRAME = RATE // 50
"""Samples per packet: 20 ms, as in AMR, Opus and RTP."""
CROSS_FADE = RATE // 400
"""Samples of the cross-fade at the start and end of a gap: 2.5 ms."""
FADE_OUT = 3 * FRAME
"""Samples until a repeated frame has faded to silence: 60 ms, as in ITU-T G.711 Appendix I."""
CONCEALMENTS = ("zero", "repeat")


def band_pass(wave: np.ndarray) -> np.ndarray:
    """Limit `(samples,)` at 16 kHz to `BAND_HZ` with zero phase: -6 dB at the band's edges, -50 dB 150 Hz outside them."""
    taps = firwin(401, BAND_HZ, pass_zero=False, fs=RATE)
    return fftconvolve(wave, taps, mode="same").astype(np.float32)


class Telephone(CodecCompression):
    """Simulate a landline or mobile telephone: band limit of 300–3400 Hz, then a codec at 8 kHz.

    Args:
        codecs: names from `codecs.available()` that support 8 kHz, equally likely.
        kbps: range of the bit rate in kbit/s, as in `CodecCompression`; a-law and mu-law always use 64.
        p: probability of applying the distortion.

    Raises:
        AugmentationError: a codec is unknown, not installed or does not support 8 kHz, or `kbps` is not valid.
    """

    def __init__(
        self,
        codecs: Sequence[str] = ("a-law", "mu-law", "amr-nb"),
        kbps: tuple[float, float] = (12.2, 4.75),
        p: float = 0.5,
    ) -> None:
        super().__init__(codecs, kbps, (8_000,), p)
        wide = [name for name in self.codecs if 8_000 not in CODECS[name].kbps]
        if wide:
            raise AugmentationError(f"telephone codecs must support 8000 Hz; remove from the list: {', '.join(wide)}")

    def distort(self, samples: np.ndarray) -> np.ndarray:
        return super().distort(band_pass(samples))


class QuantisedTelephone(Noise):
    """Simulate a telephone as in the paper's augmentation: 7-bit quantisation, 300–3400 Hz, then coloured noise.

    The paper's code draws the centre of its band; a telephone's band is fixed, so here it is.

    Args:
        snr_db: both ends of the range in dB, in either order, within -40 to 100.
        p: probability of applying the distortion.
    """

    def __init__(self, snr_db: tuple[float, float] = (20, 10), p: float = 0.5) -> None:
        super().__init__(snr_db, p=p)

    def distort(self, samples: np.ndarray) -> np.ndarray:
        steps = 2 ** (BITS - 1)
        return super().distort(band_pass(np.round(np.clip(samples, -1, 1) * steps) / steps))


class PacketLoss(Distortion):
    """Lose 20 ms frames in bursts, following Gilbert's two-state model (1960): frames sent in the bad state are lost.

    With loss fraction f and mean burst length b (frames), the probability of leaving the bad state is 1 / b, and that of
    entering it is f / (b (1 - f)), at most 1. The first frame always arrives, so a clip is never lost completely.

    Args:
        loss: range of the long-run fraction of lost frames, in [0, 0.9]; the actual fraction is recorded as `loss_reached`.
        burst: mean burst length in frames, at least 1. A fraction f needs at least f / (1 - f); if `burst` is smaller, this
            minimum is used and recorded.
        concealment: replacement for lost frames. "zero": silence; "repeat": the last frame that arrived, fading out over 60 ms.
            Both use cross-fades of 2.5 ms.
        p: probability of applying the distortion.

    Raises:
        AugmentationError: an argument is outside its limits.
    """

    def __init__(
        self,
        loss: tuple[float, float] = (0.02, 0.15),
        burst: float = 2.0,
        concealment: str = "repeat",
        p: float = 0.5,
    ) -> None:
        super().__init__(p)
        if not (len(loss) == 2 and 0 <= min(loss) <= max(loss) <= 0.9):
            raise AugmentationError(f"loss must be a pair of fractions in [0, 0.9], not {loss!r}")
        if not 1 <= burst < float("inf"):
            raise AugmentationError(f"burst must be a mean length of 1 frame or more, not {burst!r}")
        if concealment not in CONCEALMENTS:
            raise AugmentationError(f"concealment must be one of {', '.join(CONCEALMENTS)}, not {concealment!r}")
        self.loss, self.burst, self.concealment = tuple(loss), burst, concealment

    def draw(self, length: int) -> dict[str, object]:
        loss = random.uniform(*self.loss)
        burst = max(self.burst, loss / (1 - loss))
        return {"loss": loss, "burst": burst, "concealment": self.concealment, "seed": new_seed()}

    def distort(self, samples: np.ndarray) -> np.ndarray:
        drawn = self.parameters
        lost = gilbert(-(-len(samples) // FRAME), drawn["loss"], drawn["burst"], np.random.default_rng(drawn["seed"]))
        self.measured["loss_reached"] = float(lost.mean())
        return conceal(samples, lost, drawn["concealment"])


def gilbert(frames: int, loss: float, burst: float, rng: np.random.Generator) -> np.ndarray:
    """Draw which frames are lost, as bool `(frames,)`; see `PacketLoss`."""
    enter, leave = loss / (burst * (1 - loss)), 1 / burst
    lost = np.zeros(frames, dtype=bool)
    for frame, chance in enumerate(rng.random(frames)[1:], start=1):
        lost[frame] = chance >= leave if lost[frame - 1] else chance < enter
    return lost


def conceal(wave: np.ndarray, lost: np.ndarray, concealment: str) -> np.ndarray:
    """Replace lost frames by silence or by the last frame that arrived.

    Args:
        wave: float32 `(samples,)` at 16 kHz.
        lost: bool `(ceil(samples / FRAME),)`; the first is False.
        concealment: one of `CONCEALMENTS`.

    Returns:
        float32 `(samples,)`.
    """
    rising = np.linspace(0, 1, CROSS_FADE, dtype=np.float32)
    # Pad CROSS_FADE samples at both ends: for the samples before the first frame and for the cross-fade after the last gap.
    heard = np.pad(wave, (CROSS_FADE, len(lost) * FRAME - len(wave) + CROSS_FADE))
    edges = np.flatnonzero(np.diff(lost, prepend=False, append=False)).reshape(-1, 2) * FRAME + CROSS_FADE
    for start, stop in edges:
        filled = slice(start, stop + CROSS_FADE)
        if concealment == "zero":
            heard[start - CROSS_FADE : start] *= 1 - rising
            filler = np.zeros(stop + CROSS_FADE - start, dtype=np.float32)
        else:
            # Cross-fade the frame's end into the samples before its start, so that its repetitions join without a click.
            before = heard[start - FRAME - CROSS_FADE : start - FRAME]
            heard[start - CROSS_FADE : start] += rising * (before - heard[start - CROSS_FADE : start])
            gain = np.maximum(0, 1 - np.arange(stop + CROSS_FADE - start, dtype=np.float32) / FADE_OUT)
            filler = gain * np.resize(heard[start - FRAME : start], len(gain))
        back = rising * heard[stop : stop + CROSS_FADE] + (1 - rising) * filler[-CROSS_FADE:]
        heard[filled] = np.append(filler[:-CROSS_FADE], back)
    return heard[CROSS_FADE : CROSS_FADE + len(wave)]
