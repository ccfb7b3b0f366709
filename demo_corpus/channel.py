"""The channel for every clip of both classes: band limits, a microphone's tilt, a channel codec, edge trim, peak limiter,
fade, level, noise floor and dither, in this order.

The upper band limit is at most the highest frequency of the recording that the clip is made from, also for text-to-speech, so
that it does not tell the classes apart.

A synthesiser leaves traces that a detector should not rely on: a louder or quieter clip, sharper peaks, silent edges,
digital zeros, an empty band at the lowest or highest frequencies. Both classes get the same processing, with random choices
from the same distributions.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import av
import numpy as np
import soundfile
from scipy.fft import irfft, next_fast_len, rfft, rfftfreq
from scipy.ndimage import maximum_filter1d, uniform_filter1d
from scipy.signal import welch

from aasist_lib.audio import RATE

Band = tuple[float, float]
"""Lower and upper limit, Hz."""
FULL_BAND: Band = (20, 8000)
LOW_HZ, HIGH_HZ = (20, 120), (3400, 8000)
"""Ranges of the two band limits."""
_TOP_DB = 60.0
TILT_DB = 6.0
"""Largest rise or fall of the random tilt, between 250 Hz and the upper band limit."""
EDGE_SECONDS = 0.03
EDGE_DB = 35.0
CREST_DB = (9.0, 12.0)
FADE_SECONDS = (0.03, 0.06)
LEVEL_DBFS = (-32.0, -20.0)
NOISE_SNR_DB = (25.0, 45.0)
CEILING = 0.98
_FRAME = RATE // 100
_LOOK = RATE // 100 + 1
_ROLL_OFF_HZ = 400


def top_of(wave: np.ndarray) -> float:
    """Return the highest frequency, in Hz, at which the mean spectrum is within 60 dB of its maximum."""
    hertz, power = welch(wave, RATE, nperseg=512)
    return float(hertz[power > power.max() * 10 ** (-_TOP_DB / 10)].max(initial=HIGH_HZ[0]))


def band_limit(wave: np.ndarray, band: Band = FULL_BAND, tilt: float = 0.0) -> np.ndarray:
    """Keep `band` and tilt the spectrum by `tilt` dB from 250 Hz to the upper band limit, evenly per octave.

    The filter is zero-phase and uses one Fourier transform of the whole clip. Input and output are `(samples,)`.
    """
    size = next_fast_len(len(wave) + RATE // 10, real=True)
    hertz = rfftfreq(size, 1 / RATE)
    high_pass = 1 / (1 + (band[0] / np.maximum(hertz, 1e-3)) ** 8)
    low_pass = 0.5 + 0.5 * np.cos(np.pi * np.clip((hertz - band[1]) / _ROLL_OFF_HZ + 0.5, 0, 1))
    octaves = np.log2(np.clip(hertz, 250, band[1]) / 250) / np.log2(band[1] / 250)
    return irfft(rfft(wave, size) * high_pass * low_pass * 10 ** (tilt * octaves / 20), size)[: len(wave)]


def limit(wave: np.ndarray, crest: float) -> np.ndarray:
    """Attenuate the loudest moments, smoothly over 10 ms, until the peak is at most `crest` dB above the RMS."""
    peak = np.abs(wave).max()
    around = np.maximum(maximum_filter1d(np.abs(wave), _LOOK), 1e-9)
    low, high, limited = 0.02 * peak, peak, wave
    for _ in range(8):
        threshold = np.sqrt(low * high)
        limited = wave * uniform_filter1d(np.minimum(1, threshold / around), _LOOK)
        found = 20 * np.log10(np.abs(limited).max() / max(np.sqrt(np.mean(limited**2)), 1e-9) + 1e-9)
        low, high = (threshold, high) if found < crest else (low, threshold)
    return limited


def fade(wave: np.ndarray, seconds: float) -> np.ndarray:
    """Fade in and out over `seconds`."""
    ramp = np.sin(np.linspace(0, np.pi / 2, min(round(seconds * RATE), len(wave)))) ** 2
    faded = wave.copy()
    faded[: len(ramp)] *= ramp
    faded[len(wave) - len(ramp) :] *= ramp[::-1]
    return faded


def trim(wave: np.ndarray, margin: float = EDGE_SECONDS) -> np.ndarray:
    """Cut edges that are more than `EDGE_DB` below the loudest 10 ms, but keep up to `margin` seconds of them."""
    frames = len(wave) // _FRAME
    if frames == 0:
        return wave
    energy = np.mean(wave[: frames * _FRAME].reshape(frames, _FRAME) ** 2, axis=1)
    loud = np.flatnonzero(energy > energy.max() * 10 ** (-EDGE_DB / 10))
    if not len(loud):
        return wave
    keep = round(margin * RATE)
    return wave[max(loud[0] * _FRAME - keep, 0) : (loud[-1] + 1) * _FRAME + keep]


def set_level(wave: np.ndarray, dbfs: float) -> np.ndarray:
    """Scale to an RMS of `dbfs` dB below full scale, or less if the peak would exceed `CEILING`."""
    rms, peak = np.sqrt(np.mean(wave**2)), np.abs(wave).max()
    return wave * min(10 ** (dbfs / 20) / max(rms, 1e-9), CEILING / max(peak, 1e-9))


def transmit(wave: np.ndarray, codec: str, rng: np.random.Generator, top: float = FULL_BAND[1]) -> np.ndarray:
    """Pass a clip through the corpus' common channel.

    Args:
        wave: `(samples,)` at 16 kHz, any level.
        codec: a name from `CODECS`.
        rng: the clip's own generator, which draws all other settings.
        top: the highest upper band limit, Hz: `top_of` the recording that the clip is made from.

    Returns:
        the clip as 16-bit values in [-1, 1], float32.
    """
    ranges = ((-TILT_DB, TILT_DB), CREST_DB, FADE_SECONDS, LEVEL_DBFS, NOISE_SNR_DB)
    slope, crest, edge, level, snr = (rng.uniform(*bounds) for bounds in ranges)
    band = (rng.uniform(*LOW_HZ), min(rng.uniform(*HIGH_HZ), top))
    wave = set_level(band_limit(np.asarray(wave, dtype=np.float64), band, slope), -23.0)
    wave = trim(band_limit(CODECS[codec](wave), band))
    wave = set_level(fade(limit(wave, crest), edge), level)
    noise = band_limit(rng.standard_normal(len(wave)), band)
    wave = set_level(wave + noise * np.sqrt(np.mean(wave**2)) * 10 ** (-snr / 20), level)
    triangular = rng.uniform(-0.5, 0.5, len(wave)) + rng.uniform(-0.5, 0.5, len(wave))
    return (np.round(wave * 32768 + triangular).clip(-32768, 32767) / 32768).astype(np.float32)


def _none(wave: np.ndarray) -> np.ndarray:
    return wave


def _mu_law(wave: np.ndarray) -> np.ndarray:
    mu = 255.0
    coded = np.round(np.sign(wave) * np.log1p(mu * np.abs(wave)) / np.log1p(mu) * 127) / 127
    return np.sign(coded) * np.expm1(np.abs(coded) * np.log1p(mu)) / mu


def _a_law(wave: np.ndarray) -> np.ndarray:
    a = 87.6
    size, top = np.abs(wave), 1 + np.log(a)
    coded = np.where(size < 1 / a, a * size / top, (1 + np.log(np.maximum(a * size, 1))) / top)
    coded = np.round(coded * 127) / 127
    decoded = np.where(coded < 1 / top, coded * top / a, np.exp(coded * top - 1) / a)
    return np.sign(wave) * decoded


def _container(kind: str, subtype: str, quality: float) -> Callable[[np.ndarray], np.ndarray]:
    def code(wave: np.ndarray) -> np.ndarray:
        memory = io.BytesIO()
        soundfile.write(memory, wave, RATE, format=kind, subtype=subtype, compression_level=quality)
        memory.seek(0)
        return soundfile.read(memory)[0]

    return code


def _stream(codec: str, container: str, bit_rate: int, delay: int = 0) -> Callable[[np.ndarray], np.ndarray]:
    def code(wave: np.ndarray) -> np.ndarray:
        memory = io.BytesIO()
        with av.open(memory, "w", format=container) as output:
            stream: Any = output.add_stream(codec, rate=RATE, layout="mono", bit_rate=bit_rate)  # an AudioStream
            frame = av.AudioFrame.from_ndarray(np.round(wave * 32767).astype(np.int16)[None], "s16", "mono")
            frame.sample_rate = RATE
            output.mux(stream.encode(frame))  # PyAV converts to the codec's format and frame size
            output.mux(stream.encode(None))
        memory.seek(0)
        return decode(memory, container)[delay:][: len(wave)]

    return code


def decode(source: io.BytesIO | str, container: str) -> np.ndarray:
    """Decode a compressed file with FFmpeg to mono float64 at the file's own rate, which must be 16 kHz."""
    with av.open(source, "r", format=container) as opened:
        resampler = av.AudioResampler("fltp", "mono", RATE)
        parts = [part for frame in opened.decode(audio=0) for part in resampler.resample(frame)]
        parts += resampler.resample(None)
    return np.concatenate([part.to_ndarray().ravel() for part in parts]).astype(np.float64)


CODECS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "none": _none,
    "mu-law": _mu_law,
    "a-law": _a_law,
    "g722": _stream("g722", "g722", 64_000),
    "mp3-32k": _stream("libmp3lame", "mp3", 32_000),
    "mp3-64k": _stream("libmp3lame", "mp3", 64_000),
    "vorbis": _container("OGG", "VORBIS", 0.6),
    "opus-24k": _stream("libopus", "ogg", 24_000),
    "aac-64k": _stream("aac", "adts", 64_000, 1024),
}
CODEC_NAMES = tuple(CODECS)
