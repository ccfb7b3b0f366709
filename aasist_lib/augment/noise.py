"""Additive noise at a given signal-to-noise ratio: coloured Gaussian noise, recorded backgrounds, and babble from other clips.

The SNR is the ratio of mean powers over the whole clip. Noise is scaled by its actual power over the clip, so the target SNR
is reached exactly and not only on average; the SNR that results is measured and recorded.

These audiomentations transforms are not used:

- AddGaussianSNR reaches its SNR only in expectation (20 samples at 20 dB: 19.7 to 24.3 dB) and records a standard deviation.
- AddColorNoise shapes noise with 128 taps, so two thirds of its pink and brown noise are below 62 Hz and its slopes are wrong
  by up to 0.8 dB per octave. Both of these draw their noise outside the recorded parameters.
- AddBackgroundNoise repeats a short file with a click at every joint, and records the target SNR even if the file is silent.
"""

from __future__ import annotations

import random
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile
import soxr
from scipy.fft import irfft, next_fast_len, rfft, rfftfreq

from aasist_lib.audio import RATE, AudioError, files_below, read
from aasist_lib.augment.base import AugmentationError, Distortion, check_range, is_own_file, new_seed, power, scale_to_snr

COLOURS = {"white": 0.0, "pink": -1.0, "brown": -2.0, "blue": 1.0, "violet": 2.0}
"""Noise colours: power density is proportional to frequency raised to this exponent (3 dB per octave for each unit)."""
LOWEST_HZ = 20.0
"""Lower limit of coloured noise; without it half of brown noise's power would be inaudible."""
SNR_DB = (-40.0, 100.0)
"""Lowest and highest SNR accepted; at 100 dB float32 rounding becomes noticeable."""
MOST_TALKERS = 32
_SHORTEST = 4096
_JOINT = RATE // 100


class Additive(Distortion):
    """Base class of additive noise: noise is added at `snr_db` below the clip, which stays unchanged.

    Records `wanted_snr_db` as drawn and `snr_db` as measured on the result. If the clip or the noise is silent, nothing is
    added and `snr_db` is null. Subclasses return the noise from `noise` and its parameters from `draw_noise`.
    """

    def __init__(self, snr_db: tuple[float, float], p: float) -> None:
        super().__init__(p)
        check_range("snr_db", snr_db, *SNR_DB)
        self.snr_db = snr_db

    def draw(self, length: int) -> dict[str, object]:
        return {"wanted_snr_db": random.uniform(*self.snr_db)} | self.draw_noise()

    def distort(self, samples: np.ndarray) -> np.ndarray:
        noise = scale_to_snr(samples, self.noise(len(samples)), self.parameters["wanted_snr_db"])
        noisy = samples + noise.astype(np.float32)
        signal, added = power(samples), power(noisy - samples)
        self.measured["snr_db"] = 10 * float(np.log10(signal / added)) if added else None
        return noisy

    @abstractmethod
    def draw_noise(self) -> dict[str, object]:
        """Draw the noise's random parameters, as JSON types."""

    @abstractmethod
    def noise(self, length: int) -> np.ndarray:
        """Return noise `(length,)` at any level; it depends only on `self.parameters`."""


class Noise(Additive):
    """Add Gaussian noise of a random colour, limited to 20 Hz and above.

    Records `colour`, `seed` and the SNR.

    Args:
        snr_db: both ends of the range in dB, in either order, within -40 to 100.
        colours: names from `COLOURS`, equally likely.
        p: probability of applying the distortion.

    Raises:
        AugmentationError: the range or a colour is not allowed.
    """

    def __init__(self, snr_db: tuple[float, float] = (40, 10), colours: Sequence[str] = tuple(COLOURS), p: float = 0.5) -> None:
        super().__init__(snr_db, p)
        if not colours or not set(colours) <= set(COLOURS):
            raise AugmentationError(f"colours = {list(colours)}: must be one or more of {', '.join(COLOURS)}")
        self.colours = colours

    def draw_noise(self) -> dict[str, object]:
        return {"colour": random.choice(self.colours), "seed": new_seed()}

    def noise(self, length: int) -> np.ndarray:
        # A very short clip gets the start of a longer noise: the spectrum of a few samples is too coarse to shape.
        size = next_fast_len(max(length, _SHORTEST), real=True)
        white = np.random.default_rng(self.parameters["seed"]).standard_normal(size, dtype=np.float32)
        hertz = rfftfreq(size, 1 / RATE).astype(np.float32)
        shape = (hertz >= LOWEST_HZ) * np.maximum(hertz, LOWEST_HZ) ** (COLOURS[self.parameters["colour"]] / 2)
        return irfft(rfft(white) * shape, size)[:length]


class Background(Additive):
    """Add a random excerpt of a random file from a folder, such as MUSAN (`noise`, `music`, `speech`; Snyder et al. 2015).

    Only the excerpt is read. A file shorter than the clip is repeated, with a cross-fade of 10 ms at each joint. Records `file`
    (relative to the folder), `position` (0 = the earliest possible excerpt, 1 = the last) and `start_seconds`.

    Args:
        folder: searched once, including subfolders; all files are equally likely.
        kinds: names of the subfolders to use; empty = the whole folder.
        snr_db: both ends of the range in dB, in either order, within -40 to 100.
        p: probability of applying the distortion.

    Raises:
        AugmentationError: the range is not allowed, or a folder is missing or has no audio files; when called: a file cannot be
            read.
    """

    def __init__(
        self, folder: str | Path, kinds: Sequence[str] = (), snr_db: tuple[float, float] = (20, 5), p: float = 0.5
    ) -> None:
        super().__init__(snr_db, p)
        self.folder, self.kinds = folder, kinds
        self.files = [file for kind in kinds or (".",) for file in audio_names(Path(folder), kind)]

    def draw_noise(self) -> dict[str, object]:
        return {"file": random.choice(self.files), "position": random.random()}

    def noise(self, length: int) -> np.ndarray:
        excerpt, start = read_excerpt(Path(self.folder, self.parameters["file"]), self.parameters["position"], length)
        self.measured["start_seconds"] = start
        return excerpt


class Babble(Additive):
    """Add babble as in MUSAN recipes, made from the corpus: a sum of excerpts of several other clips, all at the same power.

    The clip itself (see `seeded`) is never a talker. Labels are ignored: to avoid spoofed voices in the background, pass bona
    fide paths only. Records `talkers` (file names), their `clips` (indices into the unique `paths`), `positions` and
    `starts_seconds`.

    Args:
        paths: audio files of the current split.
        talkers: both ends of the range of the number of talkers, in either order, within 1 to 32.
        snr_db: both ends of the range in dB, in either order, within -40 to 100.
        p: probability of applying the distortion.

    Raises:
        AugmentationError: a range is not allowed, or there are fewer other clips than talkers; when called: a clip cannot be
            read, or frozen parameters include the clip itself as a talker.
    """

    def __init__(
        self,
        paths: Sequence[str],
        talkers: tuple[int, int] = (3, 7),
        snr_db: tuple[float, float] = (20, 5),
        p: float = 0.5,
    ) -> None:
        super().__init__(snr_db, p)
        check_range("talkers", talkers, 1, MOST_TALKERS)
        self.paths, self.talkers = paths, talkers
        self.clips = tuple(dict.fromkeys(paths))
        if len(self.clips) <= round(max(talkers)):
            raise AugmentationError(
                f"babble of {round(max(talkers))} talkers needs more than {len(self.clips)} clips: add clips or reduce talkers"
            )

    def draw_noise(self) -> dict[str, object]:
        number = random.randint(*sorted(round(end) for end in self.talkers))
        drawn = random.sample(range(len(self.clips)), number + 1)
        drawn = [clip for clip in drawn if not is_own_file(self.clips[clip])][:number]
        return {
            "talkers": [Path(self.clips[clip]).name for clip in drawn],
            "clips": drawn,
            "positions": [random.random() for _ in drawn],
        }

    def noise(self, length: int) -> np.ndarray:
        babble, starts = np.zeros(length, dtype=np.float32), []
        for clip, position in zip(self.parameters["clips"], self.parameters["positions"], strict=True):
            if is_own_file(self.clips[clip]):
                raise AugmentationError(
                    f"{self.clips[clip]} is one of the talkers in parameters frozen for another clip: unfreeze and draw again"
                )
            voice, start = read_excerpt(self.clips[clip], position, length)
            babble += voice / np.sqrt(power(voice) or 1.0)
            starts.append(start)
        self.measured["starts_seconds"] = starts
        return babble


def audio_names(folder: Path, kind: str = ".") -> list[str]:
    """Return the sorted audio files in the subfolder `kind` of `folder`, as paths relative to `folder`.

    Raises:
        AugmentationError: the subfolder does not exist or contains no audio files.
    """
    if not (folder / kind).is_dir():
        there = f"; {folder} contains {sorted(item.name for item in folder.iterdir())}" if folder.is_dir() else ""
        raise AugmentationError(f"{folder / kind}: no such folder{there}")
    names = [str(file.relative_to(folder)) for file in files_below(folder / kind)]
    if not names:
        raise AugmentationError(f"{folder / kind}: no audio files in this folder")
    return names


def read_excerpt(path: str | Path, position: float, length: int) -> tuple[np.ndarray, float]:
    """Read an excerpt of `length` samples, mono at 16 kHz; return it and its start in the file in seconds.

    Args:
        position: in [0, 1), from the earliest possible start to the last. A file shorter than `length` is repeated, and any of
            its samples can be the start.

    Raises:
        AugmentationError: the file is missing, not audio or shorter than one sample at 16 kHz, or the excerpt contains NaN or
            infinite samples.
    """
    try:
        with soundfile.SoundFile(str(path)) as file:
            rate, total = file.samplerate, file.frames
            if total == np.iinfo(np.int64).max:  # a FLAC file without a length in its header
                return _excerpt_of_whole(path, position, length)
            frames = -(-(length + 1) * rate // RATE)
            start = int(position * (total - frames + 1)) if total > frames else 0
            file.seek(start)
            wave = file.read(frames, dtype="float32", always_2d=True).mean(axis=1)
    except (soundfile.SoundFileError, TypeError):  # another format, such as AAC; TypeError: a name ending in .raw
        return _excerpt_of_whole(path, position, length)
    wave = wave if rate == RATE else soxr.resample(wave, rate, RATE)
    if not len(wave) or not np.isfinite(wave).all():
        raise AugmentationError(f"{path}: {'contains NaN or infinite samples' if len(wave) else 'contains no samples'}")
    if total > frames:
        return wave[:length], start / rate
    begin = int(position * len(wave))
    return repeat(wave, length, begin), begin / RATE


def _excerpt_of_whole(path: str | Path, position: float, length: int) -> tuple[np.ndarray, float]:
    """Do the work of `read_excerpt` for a file in which libsndfile cannot seek: read it whole."""
    try:
        wave = read(path)
    except AudioError as error:
        raise AugmentationError(str(error)) from error
    start = int(position * (len(wave) - length + 1 if len(wave) > length else len(wave)))
    return (wave[start : start + length] if len(wave) > length else repeat(wave, length, start)), start / RATE


def repeat(wave: np.ndarray, length: int, begin: int) -> np.ndarray:
    """Repeat `wave (any,)` from its sample `begin` to `(length,)`, with an equal-power cross-fade of 10 ms at each joint."""
    joint = min(_JOINT, len(wave) // 2)
    rise = np.sin(np.linspace(0, np.pi / 2, joint, dtype=np.float32))
    loop = wave[: len(wave) - joint].copy()
    loop[:joint] = loop[:joint] * rise + wave[len(wave) - joint :] * rise[::-1]
    return np.take(loop, np.arange(begin, begin + length), mode="wrap")
