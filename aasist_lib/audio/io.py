"""Read, resample, crop and write audio as float32 mono. A file is read to its real end, or refused.

torchaudio's `load` is not used: it needs torchcodec and reads whole files only.
"""

from __future__ import annotations

import io
import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from aasist_lib.audio.containers import AudioError as AudioError
from aasist_lib.audio.decoding import decode, open_exact
from aasist_lib.audio.decoding import printable as printable
from aasist_lib.runtime.files import atomic

RATE = 16_000
"""Sampling rate of every waveform in the workbook, in Hz."""
EXTENSIONS = (
    ".flac", ".wav", ".ogg", ".mp3", ".opus", ".aiff", ".aif", ".aifc", ".au", ".caf", ".oga", ".w64",
    ".m4a", ".mp4", ".aac", ".webm", ".mka", ".mkv", ".mov", ".3gp", ".amr", ".wma",
)  # fmt: skip
"""File endings that count as audio when a folder is searched; a file that is named explicitly may have any ending."""
SOURCE_RATES = (2_000, 1_000_000)
"""Lowest and highest accepted sampling rate in Hz: a file at 1 Hz would grow to 16 000 times its size."""
LOUDEST = 2.0**31
"""Largest accepted absolute sample: above the full scale of 32-bit numbers, squares exceed the range of float32."""
CANCELS_BELOW, CANCELLED_SHARE = 0.25, 0.1
"""The mean of the channels cancels in a stretch where its power is below so much of what unrelated channels would give, and in
a file where this is so in so much of its sound."""
_STRETCH_SECONDS = 0.1
_NOT_AUDIO = frozenset({".DS_Store", "Thumbs.db", "desktop.ini"})


class Search(NamedTuple):
    """Result of searching a folder: audio files in order of their paths, and numbers of files left out by reason."""

    files: list[Path]
    left_out: dict[str, int]


def search(folder: Path) -> Search:
    """All audio files of a folder and its sub-folders, including linked ones, no folder twice. A missing folder has none.

    Raises:
        AudioError: a folder cannot be listed.
    """

    def refuse(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            raise AudioError(f"{error.filename}: cannot be searched: {error.strerror}") from error

    seen: set[str] = set()
    files: list[Path] = []
    left_out: Counter[str] = Counter()
    for place, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
        folders.sort()
        if (real := os.path.realpath(place)) in seen:
            folders.clear()  # and go no deeper
            left_out["folders that a link leads to again"] += 1
            continue
        seen.add(real)
        for name in names:
            if reason := _no_audio(name):
                left_out[reason] += 1
            else:
                files.append(Path(place, name))
    return Search(sorted(files), dict(left_out))


def _no_audio(name: str) -> str:
    """Why a file in a folder does not count as audio, by its name; '' if it does."""
    if name.startswith("._") or name in _NOT_AUDIO:
        return "files that a system keeps for itself"
    if Path(name).suffix.lower() not in EXTENSIONS:
        ending = Path(name).suffix.lower()
        return f"'{ending}' files" if ending else "files without an ending"
    return ""


def left_out_text(left_out: dict[str, int]) -> str:
    """Text about files left out: "2 '.txt' files, 1 links back to a folder"; empty if there are none."""
    return ", ".join(f"{count} {reason}" for reason, count in sorted(left_out.items()))


def files_below(folder: Path) -> list[Path]:
    """The audio files of `search`."""
    return search(folder).files


# ---- channels --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Mixdown:
    """How channels are mixed to mono: only `channel` (from 1), or the mean of all (None). `warning` says why it is not the
    mean; '' if it is."""

    channels: int
    channel: int | None = None
    warning: str = ""


def mixdown(path: str | Path) -> Mixdown:
    """The mean of the channels, or the loudest channel if the mean cancels because one channel is the inverse of another, in
    the whole file or a part of it. The file is read once for this.

    Raises:
        AudioError: as `blocks`.
    """
    powers: list[NDArray[np.float64]] = []
    for rate, wave in decode(Path(path)):
        if wave.shape[1] > 1:
            powers.append(_powers(wave, max(1, round(rate * _STRETCH_SECONDS))))
    if len({part.shape[1] for part in powers}) > 1:  # channels come or go on the way: there is none that is everywhere
        return Mixdown(max(part.shape[1] for part in powers) - 1)
    return _choose(np.concatenate(powers)) if powers else Mixdown(1)


def channel_count(path: str | Path) -> int:
    """The number of channels at the beginning of a file.

    Raises:
        AudioError: as `blocks`.
    """
    for _, wave in decode(Path(path)):
        return wave.shape[1]
    raise AudioError(f"{path}: holds no samples")


def _powers(wave: NDArray[np.float32], step: int) -> NDArray[np.float64]:
    """Mean power of every channel and, last, of their mean, in stretches of `step` samples: `(stretches, channels + 1)`."""
    both = np.concatenate([wave, wave.mean(axis=1, keepdims=True)], axis=1).astype(np.float64) ** 2
    starts = np.arange(0, len(both), step)
    return np.add.reduceat(both, starts, axis=0) / np.diff([*starts, len(both)])[:, None]


def _choose(powers: NDArray[np.float64]) -> Mixdown:
    """The mixdown for a file's `_powers`."""
    alone, mean = powers[:, :-1], powers[:, -1]
    channels = alone.shape[1]
    unrelated = alone.sum(axis=1) / channels**2
    sound = unrelated > 1e-4 * unrelated.max()  # 40 dB under the loudest
    cancelled = sound & (mean < CANCELS_BELOW * unrelated)
    if not sound.any() or cancelled.sum() < CANCELLED_SHARE * sound.sum():
        return Mixdown(channels)
    channel = int(alone.sum(axis=0).argmax()) + 1
    return Mixdown(
        channels, channel, f"the mean of its {channels} channels cancels: channel {channel}, the loudest, was scored alone"
    )


def duration(path: str | Path) -> float:
    """Length of a file in seconds; decoded to its end if its header is not exact.

    Raises:
        AudioError: as `blocks`.
    """
    file = open_exact(Path(path))
    if file is not None:
        with file:
            return file.frames / file.samplerate
    return sum(len(wave) / rate for rate, wave in decode(Path(path)))


# ---- reading ---------------------------------------------------------------------------------------------------------


def read(path: str | Path, rate: int = RATE) -> np.ndarray:
    """Read a file as mono at `rate` Hz.

    Returns:
        float32 array of shape `(samples,)`, full scale = 1.

    Raises:
        AudioError: as `blocks`.
    """
    return np.concatenate(list(blocks(path, rate)))


def read_crop(path: str | Path, samples: int, start: Callable[[int], int] = lambda length: 0) -> np.ndarray:
    """Exactly `fit(wave, samples, start(len(wave)))` of `wave = read(path)`, reading only as much as needed.

    Only the crop is read from files with 16 kHz, one channel and a format with exact length and random access (FLAC, or PCM in
    WAV, AIFF and similar). All other files are read completely.

    Args:
        samples: wanted length.
        start: first sample of the crop, given the length of the whole; called once.

    Returns:
        float32 array of shape `(samples,)` at 16 kHz, full scale = 1.

    Raises:
        AudioError: as `blocks`; if only the crop is read, damage outside of it is not detected.
    """
    path = Path(path)
    file = open_exact(path)
    if file is not None:
        with file:
            if file.samplerate == RATE and file.channels == 1:
                return _crop(file, path, samples, start)
    wave = read(path)
    return fit(wave, samples, start(len(wave)))


def _crop(file: soundfile.SoundFile, path: Path, samples: int, start: Callable[[int], int]) -> np.ndarray:
    length = file.frames
    if not length:
        raise AudioError(f"{path}: holds no samples")
    wanted = min(samples, length)
    first = min(start(length), length - wanted)
    try:
        if first:
            file.seek(first)
        wave = file.read(wanted, dtype="float32", always_2d=True)[:, 0]
    except soundfile.SoundFileError as error:
        raise AudioError(f"{path}: damaged after {first / RATE:.1f} s: {error}") from error
    if len(wave) < wanted:
        end, stated = (first + len(wave)) / RATE, length / RATE
        raise AudioError(f"{path}: cut off or damaged: it ends after {end:.1f} s, its header says {stated:.1f} s")
    _require_sane(wave, path)
    return fit(wave, samples)


def blocks(path: str | Path, rate: int = RATE) -> Iterator[np.ndarray]:
    """Read a file as mono at `rate` Hz in blocks, so that memory does not depend on its length.

    Together the blocks are the whole file, including all parts of concatenated or chained files; a truncated or damaged file
    raises an error.

    Yields:
        float32 arrays of shape `(samples,)`, not empty, full scale = 1.

    Raises:
        AudioError: the file is missing, not a regular file, not audio, empty, truncated or damaged, or has NaN, infinite or
            far too large samples or an impossible sampling rate.
    """
    return iter(Stream(Path(path), rate))


@dataclass
class Stream:
    """A file as mono at `rate` Hz; iterating yields `blocks`. `channel` (from 1) selects one channel; afterwards `mix` is the
    mixdown that was used."""

    path: Path
    rate: int = RATE
    channel: int | None = None
    mix: Mixdown | None = None

    def __iter__(self) -> Iterator[np.ndarray]:
        some = False
        for piece in self._resampled():
            if len(piece):
                some = True
                yield piece
        if not some:
            raise AudioError(f"{self.path}: holds no samples")

    def _resampled(self) -> Iterator[np.ndarray]:
        resampler, resampled = None, 0
        for rate, wave in decode(self.path):
            if not SOURCE_RATES[0] <= rate <= SOURCE_RATES[1]:
                low, high = SOURCE_RATES
                raise AudioError(
                    f"{self.path}: sampling rate {rate} Hz is not supported ({low} to {high} Hz): resample the file"
                )
            _require_sane(wave, self.path)
            if rate != resampled:
                if resampler is not None:
                    yield resampler.resample_chunk(np.zeros(0, np.float32), last=True)
                resampler = None if rate == self.rate else soxr.ResampleStream(rate, self.rate, 1)
                resampled = rate
            mono = self._mono(wave)
            yield mono if resampler is None else resampler.resample_chunk(mono)
        if resampler is not None:
            yield resampler.resample_chunk(np.zeros(0, np.float32), last=True)

    def _mono(self, wave: np.ndarray) -> np.ndarray:
        """`(samples, channels)` -> `(samples,)`; numpy's mean of one channel costs as much as a tenth of decoding it."""
        channels = wave.shape[1]
        if channels == 1:
            self.mix = self.mix or Mixdown(1)
            return wave[:, 0]
        if self.mix is None or self.mix.channels == 1:
            self.mix = mixdown(self.path) if self.channel is None else Mixdown(channels, self.channel)
        chosen = self.mix.channel
        return wave.mean(axis=1) if chosen is None or chosen > channels else np.ascontiguousarray(wave[:, chosen - 1])


def _require_sane(wave: np.ndarray, path: str | Path) -> None:
    if -LOUDEST <= wave.min(initial=0) and wave.max(initial=0) <= LOUDEST:  # neither holds of NaN
        return
    what = "samples beyond 32-bit full scale" if np.isfinite(wave).all() else "NaN or infinite samples"
    raise AudioError(f"{path}: holds {what}; export it again as PCM")


def fit(wave: np.ndarray, samples: int, start: int = 0) -> np.ndarray:
    """Exactly `samples` samples from `start`; a shorter wave is repeated, as in the ASVspoof baselines.

    Args:
        wave: shape `(any,)`, not empty.
        samples: wanted length.
        start: first sample of the crop; ignored if the wave is not longer than `samples`.

    Returns:
        shape `(samples,)`.
    """
    if len(wave) >= samples:
        start = min(start, len(wave) - samples)
        return wave[start : start + samples]
    return np.tile(wave, -(-samples // len(wave)))[:samples]


def random_start(length: int, samples: int, rng: np.random.Generator) -> int:
    """A uniformly drawn first sample of a crop from `length` samples; 0, without a draw, if the crop is not shorter."""
    return int(rng.integers(0, length - samples + 1)) if length > samples else 0


def speech(wave: np.ndarray, below_db: float = 30.0, floor_dbfs: float = -60.0) -> np.ndarray:
    """Energy-based speech detection, one decision per 10 ms.

    Args:
        wave: `(samples,)` at 16 kHz, full scale = 1.
        below_db: quieter than the loudest 10 ms by more than this is silence.
        floor_dbfs: quieter than this is silence in any case, in dB re full scale.

    Returns:
        bool `(samples // 160,)`, at least one.
    """
    step = RATE // 100
    count = max(len(wave) // step, 1)
    power = np.square(np.resize(wave[: count * step], count * step).reshape(count, step), dtype=np.float64).mean(axis=1)
    level = 10 * np.log10(power + 1e-12)
    return level > max(level.max() - below_db, floor_dbfs)


def change_speed(wave: np.ndarray, factor: float) -> np.ndarray:
    """Play `wave (samples,)` `factor` times as fast: tempo, pitch and formants change together, as on a tape."""
    return soxr.resample(wave, RATE * factor, RATE) if factor != 1 else wave


def write_flac(path: Path, wave: np.ndarray, rate: int = RATE) -> None:
    """Write 16-bit FLAC atomically.

    Args:
        wave: float `(samples,)` in [-1, 1]; values outside are an error, never clipped silently.

    Raises:
        AudioError: the wave is empty or leaves [-1, 1].
    """
    if not len(wave) or not np.abs(wave).max() <= 1:
        raise AudioError(f"{path}: cannot write: samples must be non-empty, finite and within [-1, 1]")
    coded = io.BytesIO()  # libsndfile does not say why it cannot write a file
    soundfile.write(coded, wave, rate, format="FLAC", subtype="PCM_16")
    with atomic(path) as file:
        file.write_bytes(coded.getbuffer())
