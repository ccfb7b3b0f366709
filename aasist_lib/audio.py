"""Reading, resampling, cropping and writing audio: soundfile and soxr, float32 mono.

torchaudio's own `load` is not used: it needs torchcodec, and soundfile reads every format the corpora come in.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile
import soxr

from aasist_lib.runs import atomic

RATE = 16_000
"""Sampling rate of every waveform in the workbook, in Hz."""
EXTENSIONS = (".flac", ".wav", ".ogg", ".mp3", ".opus", ".aiff")
"""How the names of files taken for audio end when a folder is searched."""


class AudioError(ValueError):
    """A file that cannot be used as audio; the message names it and says why."""


def files_below(folder: Path) -> list[Path]:
    """All audio files of a folder and its sub-folders, in order of their paths."""
    return sorted(file for file in folder.rglob("*") if file.suffix.lower() in EXTENSIONS)


def read(path: str | Path, rate: int = RATE) -> np.ndarray:
    """Read a file as mono at `rate` Hz.

    Returns:
        float32 array of shape `(samples,)`, full scale = 1.

    Raises:
        AudioError: the file is absent, not audio, empty, or holds NaN or infinite samples.
    """
    try:
        wave, source_rate = soundfile.read(str(path), dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, OSError) as error:
        reason = "no such file" if not Path(path).exists() else str(error)
        raise AudioError(f"{path}: cannot be read as audio: {reason}") from error
    if not len(wave):
        raise AudioError(f"{path}: holds no samples")
    if not np.isfinite(wave).all():
        raise AudioError(f"{path}: holds NaN or infinite samples; export it again as PCM")
    mono = wave.mean(axis=1)
    return mono if source_rate == rate else soxr.resample(mono, source_rate, rate)


def fit(wave: np.ndarray, samples: int, start: int = 0) -> np.ndarray:
    """Exactly `samples` samples from `start` on; a wave that is too short is repeated, as in the ASVspoof baselines.

    Args:
        wave: shape `(any,)`, not empty.
        samples: wanted length.
        start: first sample of the crop; ignored when the wave is not longer than `samples`.

    Returns:
        shape `(samples,)`.
    """
    if len(wave) > samples:
        start = min(start, len(wave) - samples)
        return wave[start : start + samples]
    return np.tile(wave, -(-samples // len(wave)))[:samples]


def random_start(wave: np.ndarray, samples: int, rng: np.random.Generator) -> int:
    """A uniformly drawn first sample for `fit`; 0 when the wave is not longer than the crop."""
    return int(rng.integers(0, len(wave) - samples + 1)) if len(wave) > samples else 0


def change_speed(wave: np.ndarray, factor: float) -> np.ndarray:
    """Play `wave (samples,)` `factor` times as fast: tempo, pitch and formants move together, as on a tape."""
    return soxr.resample(wave, RATE * factor, RATE) if factor != 1 else wave


def write_flac(path: Path, wave: np.ndarray, rate: int = RATE) -> None:
    """Write 16-bit FLAC as a temporary file and rename it, so that no half-written clip is ever seen.

    Args:
        wave: float `(samples,)` in [-1, 1]; values outside are an error, never clipped in silence.

    Raises:
        AudioError: the wave is empty or leaves [-1, 1].
    """
    if not len(wave) or not np.abs(wave).max() <= 1:
        raise AudioError(f"{path}: a wave to be written is non-empty, finite and within [-1, 1]")
    with atomic(path) as file:
        soundfile.write(str(file), wave, rate, format="FLAC", subtype="PCM_16")
