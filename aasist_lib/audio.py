"""Reading, resampling, cropping and writing audio as float32 mono: soundfile and soxr, and PyAV for what soundfile cannot read.

torchaudio's own `load` is not used: it needs torchcodec, and gives whole files only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import numpy as np
import soundfile
import soxr

from aasist_lib.runs import atomic

RATE = 16_000
"""Sampling rate of every waveform in the workbook, in Hz."""
EXTENSIONS = (
    ".flac", ".wav", ".ogg", ".mp3", ".opus", ".aiff", ".aif", ".aifc", ".au", ".caf", ".oga", ".w64",
    ".m4a", ".mp4", ".aac", ".webm", ".mka", ".mkv", ".mov", ".3gp", ".amr", ".wma",
)  # fmt: skip
"""How the names of files taken for audio end when a folder is searched; a file that is named is read whatever its ending."""
BLOCK = 1 << 18
"""Samples a channel that are held at once while a file is read."""
_DEMUXERS = "aac,ac3,aiff,amr,ape,asf,avi,caf,flac,flv,matroska,mov,mp3,mpeg,mpegts,ogg,tta,w64,wav,wv"
"""What FFmpeg may take a file for. Without playlists: these would make it open other files."""
_TOLERANCE_SECONDS = 0.3
"""By how much less than its header says a file may hold: encoders count their own delay."""
_MALFORMED = 3
"""libsndfile's code of a file that it knows and that is broken: FFmpeg would read a part of it."""
_SHORT_CHUNK = re.compile(r"^ *(?:data|SSND|Data Size|riff) *: (\d+) \(should be (\d+)\)", re.MULTILINE)
"""What libsndfile notes where a WAV, AIFF, AU or W64 file has fewer bytes of samples than its header says."""
_BROKEN_OGG = re.compile(r"^Ogg ?: .*(?:lacks an end-of-stream|Skipped \d+ bytes|a hole at).*$", re.MULTILINE)
"""What it notes where pages of an Ogg file are missing; it reads over them."""
_UNKNOWN_SIZE = 0x7FFF0000
"""From here on a stated number of bytes means that whoever wrote the header did not know it."""


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
        AudioError: as `blocks`.
    """
    return np.concatenate(list(blocks(path, rate)))


def blocks(path: str | Path, rate: int = RATE) -> Iterator[np.ndarray]:
    """Read a file as mono at `rate` Hz piece by piece, so that its length costs no memory. Channels are averaged.

    Joined, the pieces are the file to its last sample: one that breaks off or is damaged ends in an error.

    Yields:
        float32 arrays of shape `(samples,)`, none of them empty, full scale = 1.

    Raises:
        AudioError: the file is absent, not audio, empty, cut off or damaged, or holds NaN or infinite samples.
    """
    samples = 0
    with _opened(Path(path)) as (source_rate, waves):
        resampler = None if source_rate == rate else soxr.ResampleStream(source_rate, rate, 1)
        for wave in waves:
            if not np.isfinite(wave).all():
                raise AudioError(f"{path}: holds NaN or infinite samples; export it again as PCM")
            piece = wave if resampler is None else resampler.resample_chunk(wave)
            samples += len(piece)
            if len(piece):
                yield piece
    rest = np.zeros(0, np.float32) if resampler is None else resampler.resample_chunk(np.zeros(0, np.float32), last=True)
    if samples + len(rest) == 0:
        raise AudioError(f"{path}: holds no samples")
    if len(rest):
        yield rest


class _Straight(soundfile.SoundFile):
    """A file that is read from its beginning to its end: soundfile seeks after every read, and MP3 and Opus decoders lose the
    thread there."""

    def seekable(self) -> bool:
        return False


@contextmanager
def _opened(path: Path) -> Iterator[tuple[int, Iterator[np.ndarray]]]:
    """A file's own rate in Hz, and its samples as mono blocks. libsndfile reads what it knows, FFmpeg the rest."""
    if not path.is_file():
        raise AudioError(f"{path}: cannot be read as audio: {'a folder' if path.is_dir() else 'no such file'}")
    try:
        file = _Straight(str(path))
    except (soundfile.SoundFileError, TypeError) as error:  # TypeError: the name ends with .raw, so there is no header
        reason = getattr(error, "error_string", str(error))
        if getattr(error, "code", None) == _MALFORMED:
            raise AudioError(f"{path}: cannot be read as audio: {reason}") from error
        with _opened_by_ffmpeg(path, reason) as opened:
            yield opened
        return
    with file:
        yield file.samplerate, _sndfile_blocks(file, path)


def _sndfile_blocks(file: soundfile.SoundFile, path: Path) -> Iterator[np.ndarray]:
    count = file.seek(0)  # once: the MP3 decoder's first samples depend on it by a rounding error
    try:
        while len(wave := file.read(BLOCK, dtype="float32", always_2d=True)):
            count += len(wave)
            yield wave.mean(axis=1)
    except soundfile.SoundFileError as error:
        raise AudioError(f"{path}: damaged after {count / file.samplerate:.1f} s: {error}") from error
    missing = _missing_frames(file, path, count)
    if missing > _TOLERANCE_SECONDS * file.samplerate:
        raise AudioError(f"{path}: cut off or damaged: {missing / file.samplerate:.1f} s of what its header says are not there")
    broken = _BROKEN_OGG.search(file.extra_info)
    if broken:
        raise AudioError(f"{path}: cut off or damaged, {count / file.samplerate:.1f} s can be read: {broken[0]}")


def _missing_frames(file: soundfile.SoundFile, path: Path, count: int) -> float:
    """How many samples a channel there should be beyond those `count` that were read."""
    short = _SHORT_CHUNK.search(file.extra_info)
    if short:
        stated, found = map(int, short.groups())
        return 0 if stated >= _UNKNOWN_SIZE else (stated - found) * count / found
    known = file.frames < np.iinfo(np.int64).max and (file.format != "MP3" or _has_frame_count(path))
    return file.frames - count if known else 0


def _has_frame_count(path: Path) -> bool:
    """Whether an MP3 says how many frames it has, as LAME and FFmpeg write them; without, libsndfile guesses its length."""
    with open(path, "rb") as file:
        tag = file.read(10)
        size = sum(byte << 7 * place for place, byte in enumerate(tag[:5:-1])) if tag[:3] == b"ID3" else -10
        file.seek(10 + size)
        first = file.read(256)
    return b"Xing" in first or b"Info" in first


@contextmanager
def _opened_by_ffmpeg(path: Path, refusal: str) -> Iterator[tuple[int, Iterator[np.ndarray]]]:
    """As `_opened`; `refusal` is what libsndfile said."""
    allowed = {"format_whitelist": _DEMUXERS, "protocol_whitelist": "file"}
    try:
        container = av.open(str(path.resolve()), container_options=allowed)
    except av.FFmpegError as error:
        raise AudioError(f"{path}: cannot be read as audio: {refusal} FFmpeg: {error.strerror}") from error
    with container:
        stream = next((stream for stream in container.streams.audio if stream.rate), None)
        if stream is None:  # or FFmpeg went by the file's name alone, and found no sound in it
            raise AudioError(f"{path}: cannot be read as audio: {refusal} FFmpeg: no sound track")
        yield stream.rate, _ffmpeg_blocks(container, stream, path)


def _ffmpeg_blocks(container: av.container.InputContainer, stream: av.AudioStream, path: Path) -> Iterator[np.ndarray]:
    floats, held, count = av.AudioResampler(format="fltp"), [], 0
    try:
        for frame in container.decode(stream):
            held += [piece.to_ndarray().mean(axis=0) for piece in floats.resample(frame)]
            count += frame.samples
            if sum(map(len, held)) >= BLOCK:
                yield np.concatenate(held)
                held = []
    except (av.FFmpegError, ValueError) as error:  # ValueError: rate or channels change on the way
        reason = getattr(error, "strerror", error)
        raise AudioError(f"{path}: damaged after {count / stream.rate:.1f} s: {reason}") from error
    if held:
        yield np.concatenate(held)
    stated = _stated_seconds(container, stream)
    if stated is not None and count / stream.rate < stated - _TOLERANCE_SECONDS:
        raise AudioError(f"{path}: cut off: its header says {stated:.1f} s, it holds {count / stream.rate:.1f} s")


def _stated_seconds(container: av.container.InputContainer, stream: av.AudioStream) -> float | None:
    """How long the header says the sound is; None where it says nothing, or where FFmpeg guesses it from the bit rate."""
    if not {"mov", "matroska", "asf"} & set(container.format.name.split(",")):
        return None
    if stream.duration is not None:
        return float(stream.duration * stream.time_base)
    return container.duration / av.time_base if container.duration and len(container.streams) == 1 else None


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


def speech(wave: np.ndarray, below_db: float = 30.0, floor_dbfs: float = -60.0) -> np.ndarray:
    """Where a clip is loud enough to be speech: a detector by energy, one decision each 10 ms.

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
