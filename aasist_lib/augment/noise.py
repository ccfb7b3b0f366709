"""Additive noise at a wanted signal-to-noise ratio: coloured Gaussian, recorded backgrounds, and babble of other clips.

The SNR is the ratio of mean powers over the whole clip. Noise is scaled by the power it really has over the clip, so that the
SNR is reached exactly and not only on average; what was reached is measured on the result. audiomentations' AddGaussianSNR and
AddColorNoise are not used: the first reaches its SNR only in expectation (20 samples at 20 dB: 19.7 to 24.3 dB) and records
a standard deviation; the second shapes noise with 128 taps, so that two thirds of its pink and brown noise lie below 62 Hz and
its slopes are off by up to 0.8 dB per octave; both draw their noise outside the recorded parameters. AddBackgroundNoise
repeats a short file with a click at every joint, and records the SNR it aims at even where the file turns out to be silent.
"""

from __future__ import annotations

import os
import random
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile
import soxr
from scipy.fft import irfft, next_fast_len, rfft, rfftfreq

from aasist_lib.audio import RATE, AudioError, files_below, read
from aasist_lib.augment.base import AugmentationError, Distortion, check_range, new_seed, power, scale_to_snr

COLOURS = {"white": 0.0, "pink": -1.0, "brown": -2.0, "blue": 1.0, "violet": 2.0}
"""Noise colours: the power density goes with frequency to this exponent (3 dB per octave each)."""
LOWEST_HZ = 20.0
"""Coloured noise has nothing below: half of the power of brown noise would lie where nobody hears it."""
SNR_DB = (-40.0, 100.0)
"""Lowest and highest SNR accepted; at 100 dB the rounding of float32 begins to count."""
MOST_TALKERS = 32
_SHORTEST = 4096
_JOINT = RATE // 100


class Additive(Distortion):
    """Base of the noises: the clip is left as it is, and noise is added `snr_db` below it.

    Records `wanted_snr_db` as drawn and `snr_db` as measured on the result, null when clip or noise is silent (then nothing
    is added). Sub-classes give the noise in `noise` and its parameters in `draw_noise`.
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
        """Random parameters of the noise; JSON types only."""

    @abstractmethod
    def noise(self, length: int) -> np.ndarray:
        """`(length,)` of noise at any level, a function of `self.parameters`."""


class Noise(Additive):
    """Gaussian noise of a random colour, from 20 Hz up.

    Records `colour` and `seed` beside the SNR.

    Args:
        snr_db: two ends of the range in dB, in either order, within -40 to 100.
        colours: names of `COLOURS`, drawn evenly.
        p: probability of firing.

    Raises:
        AugmentationError: a range or a colour that is not allowed.
    """

    def __init__(self, snr_db: tuple[float, float] = (40, 10), colours: Sequence[str] = tuple(COLOURS), p: float = 0.5) -> None:
        super().__init__(snr_db, p)
        if not colours or not set(colours) <= set(COLOURS):
            raise AugmentationError(f"colours = {list(colours)}: one or more of {', '.join(COLOURS)}")
        self.colours = colours

    def draw_noise(self) -> dict[str, object]:
        return {"colour": random.choice(self.colours), "seed": new_seed()}

    def noise(self, length: int) -> np.ndarray:
        # A very short clip takes the beginning of a longer noise: a transform of a few samples has no spectrum to shape.
        size = next_fast_len(max(length, _SHORTEST), real=True)
        white = np.random.default_rng(self.parameters["seed"]).standard_normal(size, dtype=np.float32)
        hertz = rfftfreq(size, 1 / RATE).astype(np.float32)
        shape = (hertz >= LOWEST_HZ) * np.maximum(hertz, LOWEST_HZ) ** (COLOURS[self.parameters["colour"]] / 2)
        return irfft(rfft(white) * shape, size)[:length]


class Background(Additive):
    """A random excerpt of a random file of a folder, such as MUSAN's (`noise`, `music`, `speech`; Snyder et al. 2015).

    Only the excerpt is read. A file that is shorter than the clip is repeated, the joints cross-faded over 10 ms. Records
    `file` (relative to the folder), `position` (0 = the earliest possible excerpt, 1 = the last) and `start_seconds`.

    Args:
        folder: searched with its sub-folders, once; every file is drawn equally often.
        kinds: names of sub-folders to take; none = the whole folder.
        snr_db: two ends of the range in dB, in either order, within -40 to 100.
        p: probability of firing.

    Raises:
        AugmentationError: a range that is not allowed, an absent folder or kind, or one without audio files; in a call: a file
            that cannot be read.
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
    """The sum of excerpts of several other clips, each at the same power: the babble of MUSAN recipes, from the corpus itself.

    The clips are taken as they come: where spoofed voices behind a bona fide one are not wanted, give bona fide paths only.
    Records `talkers` (file names), their `clips` (places in `paths`, repetitions left out), `positions` and `starts_seconds`.

    Args:
        paths: audio files of the split at hand.
        talkers: two ends of the range of their number, in either order, within 1 to 32.
        snr_db: two ends of the range in dB, in either order, within -40 to 100.
        p: probability of firing.

    Attributes:
        current: path of the clip about to be distorted, never among the talkers; None = not one of `paths`.

    Raises:
        AugmentationError: a range that is not allowed, or fewer other clips than talkers; in a call: a clip that cannot be
            read, or frozen parameters with the clip itself among the talkers.
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
            raise AugmentationError(f"babble of {round(max(talkers))} talkers needs more clips than {len(self.clips)}")
        self.current: str | None = None

    def draw_noise(self) -> dict[str, object]:
        number = random.randint(*sorted(round(end) for end in self.talkers))
        drawn = random.sample(range(len(self.clips)), number + 1)
        drawn = [clip for clip in drawn if not self._is_current(self.clips[clip])][:number]
        return {
            "talkers": [Path(self.clips[clip]).name for clip in drawn],
            "clips": drawn,
            "positions": [random.random() for _ in drawn],
        }

    def noise(self, length: int) -> np.ndarray:
        babble, starts = np.zeros(length, dtype=np.float32), []
        for clip, position in zip(self.parameters["clips"], self.parameters["positions"], strict=True):
            if self._is_current(self.clips[clip]):
                raise AugmentationError(f"{self.current} is among the talkers that were frozen for another clip; draw again")
            voice, start = read_excerpt(self.clips[clip], position, length)
            babble += voice / np.sqrt(power(voice) or 1.0)
            starts.append(start)
        self.measured["starts_seconds"] = starts
        return babble

    def _is_current(self, path: str) -> bool:
        return self.current is not None and os.path.abspath(path) == os.path.abspath(self.current)


def audio_names(folder: Path, kind: str = ".") -> list[str]:
    """Audio files of the sub-folder `kind` of `folder`, sorted, as paths relative to `folder`.

    Raises:
        AugmentationError: no such folder, or no audio file in it.
    """
    if not (folder / kind).is_dir():
        there = f"; {folder} holds {sorted(item.name for item in folder.iterdir())}" if folder.is_dir() else ""
        raise AugmentationError(f"{folder / kind}: no such folder{there}")
    names = [str(file.relative_to(folder)) for file in files_below(folder / kind)]
    if not names:
        raise AugmentationError(f"{folder / kind}: no audio files in this folder")
    return names


def read_excerpt(path: str | Path, position: float, length: int) -> tuple[np.ndarray, float]:
    """`length` samples of a file at 16 kHz, mono, and where they begin in it in seconds.

    Args:
        position: in [0, 1), from the earliest possible beginning to the last. In a file that is too short, repeated to the
            length, any of its samples can be the beginning.

    Raises:
        AugmentationError: the file is absent, not audio, shorter than a sample at 16 kHz, or the excerpt holds NaN.
    """
    try:
        with soundfile.SoundFile(str(path)) as file:
            rate, total = file.samplerate, file.frames
            if total == np.iinfo(np.int64).max:  # a FLAC that does not give its length
                return _excerpt_of_whole(path, position, length)
            frames = -(-(length + 1) * rate // RATE)
            start = int(position * (total - frames + 1)) if total > frames else 0
            file.seek(start)
            wave = file.read(frames, dtype="float32", always_2d=True).mean(axis=1)
    except (soundfile.SoundFileError, TypeError):  # of another format, such as AAC; TypeError: its name ends with .raw
        return _excerpt_of_whole(path, position, length)
    wave = wave if rate == RATE else soxr.resample(wave, rate, RATE)
    if not len(wave) or not np.isfinite(wave).all():
        raise AugmentationError(f"{path}: {'holds NaN or infinite samples' if len(wave) else 'holds no samples'}")
    if total > frames:
        return wave[:length], start / rate
    begin = int(position * len(wave))
    return repeat(wave, length, begin), begin / RATE


def _excerpt_of_whole(path: str | Path, position: float, length: int) -> tuple[np.ndarray, float]:
    """As `read_excerpt`, of a file in which libsndfile cannot go to a sample."""
    try:
        wave = read(path)
    except AudioError as error:
        raise AugmentationError(str(error)) from error
    start = int(position * (len(wave) - length + 1 if len(wave) > length else len(wave)))
    return (wave[start : start + length] if len(wave) > length else repeat(wave, length, start)), start / RATE


def repeat(wave: np.ndarray, length: int, begin: int) -> np.ndarray:
    """`wave (any,)` as a loop, from its sample `begin` on, `(length,)`; the joint is cross-faded at equal power over 10 ms."""
    joint = min(_JOINT, len(wave) // 2)
    rise = np.sin(np.linspace(0, np.pi / 2, joint, dtype=np.float32))
    loop = wave[: len(wave) - joint].copy()
    loop[:joint] = loop[:joint] * rise + wave[len(wave) - joint :] * rise[::-1]
    return np.take(loop, np.arange(begin, begin + length), mode="wrap")
