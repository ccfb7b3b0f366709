"""Reverberation with room impulse responses, from simulated rooms or from files.

Two audiomentations transforms are replaced: RoomSimulator simulates a room for every clip, with an image-source order too low
to reach its target reverberation time, and ApplyImpulseResponse delays the clip by the response's direct path.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyroomacoustics
import soundfile
import soxr
from scipy.signal import fftconvolve

from aasist_lib.audio import RATE
from aasist_lib.augment.base import AugmentationError, Distortion, check_range, power
from aasist_lib.augment.noise import audio_names

ROOMS = 8
STEP_SECONDS = 0.02
"""Reverberation times are rounded to multiples of this value."""
RT60_SECONDS = (0.1, 2.0)
SOUND_SPEED = 343.0
"""Speed of sound in m/s, as in the simulator."""
DIRECT_SECONDS = 0.0025
"""The response up to this time after its largest sample counts as direct sound (Zahorik 2002)."""
_SMALLEST, _LARGEST = (3.5, 3.0, 2.4), (8.0, 6.0, 3.5)
_FROM_WALL, _DISTANCE = 0.5, (0.5, 1.8)
_BLEND = slice(RATE * 30 // 1000, RATE * 70 // 1000)


@dataclass(frozen=True)
class Response:
    """A room impulse response: `taps (any,)` float32, with value 1 at index `direct`, the direct path.

    `rt60_seconds` is the reverberation time, or None if the response does not decay far enough to measure it.
    """

    taps: np.ndarray
    direct: int
    rt60_seconds: float | None


class Reverberation(Distortion):
    """Reverberate a clip as in a room. The output is aligned to the clip by the direct path and scaled to the clip's RMS.

    Records `rt60_seconds`, `room` (number of a simulated room) or `file` (relative to the folder), `wet`, and
    `direct_to_reverberant_db` (null if nothing follows the direct sound).

    Args:
        rt60_seconds: both ends of the range of simulated rooms' reverberation time, in either order, within 0.1 to 2 s;
            rounded to 0.02 s. Not used with a folder.
        folder: impulse responses as audio files, such as RIRS_NOISES (Ko et al. 2017; its noises are skipped). Only the first
            channel is used. None = simulated rooms, see `simulate`.
        wet: both ends of the range of the factor for everything after the direct sound, from 0 (dry) to 1 (as in the room).
        p: probability of applying the distortion.

    Raises:
        AugmentationError: a range is not allowed, or the folder is missing or has no impulse responses; when called: a file
            cannot be read or is silent.
    """

    def __init__(
        self,
        rt60_seconds: tuple[float, float] = (0.2, 0.8),
        folder: str | Path | None = None,
        wet: tuple[float, float] = (0.5, 1.0),
        p: float = 0.5,
    ) -> None:
        super().__init__(p)
        check_range("rt60_seconds", rt60_seconds, *RT60_SECONDS)
        check_range("wet", wet, 0, 1)
        self.rt60_seconds, self.folder, self.wet = rt60_seconds, folder, wet
        self.files = [] if folder is None else _response_names(Path(folder))

    def draw(self, length: int) -> dict[str, object]:
        wet = random.uniform(*self.wet)
        if self.folder is not None:
            return {"wet": wet, "file": random.choice(self.files)}
        steps = round(random.uniform(*self.rt60_seconds) / STEP_SECONDS)
        return {"wet": wet, "room": random.randrange(ROOMS), "rt60_seconds": round(steps * STEP_SECONDS, 6)}

    def distort(self, samples: np.ndarray) -> np.ndarray:
        response = self._response()
        taps, late = response.taps.copy(), response.direct + round(DIRECT_SECONDS * RATE) + 1
        taps[late:] *= self.parameters["wet"]
        early_energy, late_energy = np.sum(taps[:late] ** 2), np.sum(taps[late:] ** 2)
        ratio = 10 * float(np.log10(early_energy / late_energy)) if late_energy else None
        self.measured = {"rt60_seconds": response.rt60_seconds, "direct_to_reverberant_db": ratio}
        span = slice(response.direct, response.direct + len(samples))
        reverberant = fftconvolve(samples, taps[: span.stop])[span]
        loudness = power(reverberant)
        return reverberant * np.sqrt(power(samples) / loudness) if loudness else reverberant

    def _response(self) -> Response:
        if self.folder is not None:
            return read_response(Path(self.folder, self.parameters["file"]))
        return simulate(self.parameters["room"], round(self.parameters["rt60_seconds"] / STEP_SECONDS))


@lru_cache(maxsize=1024)
def simulate(room: int, steps: int) -> Response:
    """Return the impulse response of one of `ROOMS` shoebox rooms with a reverberation time of `steps * STEP_SECONDS`.

    Equal arguments give equal responses. The early part comes from image sources (Allen & Berkley 1979, pyroomacoustics), the
    late part is decaying Gaussian noise (Lehmann & Johansson 2010). The two cross-fade from 30 to 70 ms after the direct path,
    where the noise has the energy of the image sources. Wall absorption follows Eyring's formula and is the same at all
    frequencies. Because the formula is not exact, the response is then multiplied by an exponential until its measured decay
    (`reverberation_time`) equals the target. A simulation takes about 5 ms.
    """
    seconds = steps * STEP_SECONDS
    early, time = _image_sources(room, seconds), np.arange(round(seconds * RATE)) / RATE
    noise = np.random.default_rng((room, steps)).standard_normal(len(time)) * 10 ** (-3 * time / seconds)
    noise *= np.sqrt(np.sum(early[_BLEND] ** 2) / np.sum(noise[_BLEND] ** 2))
    fade = np.interp(np.arange(len(time)), (_BLEND.start, _BLEND.stop), (0, np.pi / 2))
    taps = np.sin(fade) * noise
    taps[: len(early)] += np.cos(fade[: len(early)]) * early[: len(taps)]
    for _ in range(5):
        measured = reverberation_time(taps)
        if measured is None:
            raise AugmentationError(f"room {room}: the response simulated for an RT60 of {seconds:g} s does not decay")
        taps *= 10 ** (3 * time * (1 / measured - 1 / seconds))
    taps = (taps / taps[0]).astype(np.float32)
    taps.flags.writeable = False
    return Response(taps, 0, round(seconds, 6))


def reverberation_time(response: np.ndarray) -> float | None:
    """Measure the RT60 in seconds of a response `(samples,)` that starts with the direct path.

    It is computed from the slope of the backward-integrated energy (Schroeder 1965) from -5 to -35 dB (T30 of ISO 3382).
    Returns None if the energy falls through this range in fewer than two samples.
    """
    energy = np.cumsum(np.square(response[::-1], dtype=np.float64))[::-1]
    level = 10 * np.log10(energy[energy > 0] / energy[0])
    fitted = np.flatnonzero((level <= -5) & (level >= -35))
    if not len(fitted) or level[fitted[0]] == level[fitted[-1]]:
        return None
    return float(-60 / np.polyfit(fitted / RATE, level[fitted], 1)[0])


def _image_sources(room: int, seconds: float) -> np.ndarray:
    """Simulate the first 70 ms of a response, starting with the direct path, which is scaled to 1."""
    rng = np.random.default_rng(room)
    size = rng.uniform(_SMALLEST, _LARGEST)
    distance = 0.0
    while not _DISTANCE[0] < distance < _DISTANCE[1]:
        source, microphone = rng.uniform(_FROM_WALL, size - _FROM_WALL, (2, 3))
        distance = float(np.linalg.norm(microphone - source))
    # Move the microphone to a whole number of samples' distance: the direct path is then one tap and alignment is exact.
    delay = int(distance * RATE / SOUND_SPEED)
    microphone = source + (microphone - source) * delay * SOUND_SPEED / RATE / distance
    surface = 2 * (size[0] * size[1] + size[0] * size[2] + size[1] * size[2])
    absorption = 1 - np.exp(-24 * np.log(10) / SOUND_SPEED * size.prod() / (surface * seconds))
    order = int(np.ceil((delay + _BLEND.stop) / RATE * SOUND_SPEED / size.min()))
    box = pyroomacoustics.ShoeBox(size, fs=RATE, materials=pyroomacoustics.Material(absorption), max_order=order)
    box.add_source(source).add_microphone(microphone)
    box.compute_rir()
    begin = delay + pyroomacoustics.constants.get("frac_delay_length") // 2
    response = box.rir[0][0][begin : begin + _BLEND.stop].astype(np.float64)
    return response / response[0]


@lru_cache(maxsize=256)
def read_response(path: Path) -> Response:
    """Read the first channel of an audio file as an impulse response at 16 kHz.

    The largest absolute sample is the direct path; the response is scaled so that this sample is 1.

    Raises:
        AugmentationError: the file is not audio, is silent, or contains NaN or infinite samples.
    """
    try:
        wave, rate = soundfile.read(str(path), dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, OSError) as error:
        raise AugmentationError(f"{path}: cannot be read as audio: {error}") from error
    taps = wave[:, 0] if rate == RATE else soxr.resample(wave[:, 0], rate, RATE)
    if not np.isfinite(taps).all() or not taps.any():
        raise AugmentationError(f"{path}: not an impulse response: it is silent or contains NaN or infinite samples")
    direct = int(np.abs(taps).argmax())
    taps = taps / taps[direct]
    taps.flags.writeable = False
    return Response(taps, direct, reverberation_time(taps[direct:]))


def _response_names(folder: Path) -> list[str]:
    """Return the names of a folder's audio files, without the noise files that RIRS_NOISES stores next to its responses."""
    paths = [path for path in map(Path, audio_names(folder)) if "noise" not in path.stem.lower()]
    names = [str(path) for path in paths if "pointsource_noises" not in path.parts]
    if not names:
        raise AugmentationError(f"{folder}: no impulse responses, only noise files; choose a folder with impulse responses")
    return names
