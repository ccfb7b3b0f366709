"""Reading, resampling, cropping and writing audio as float32 mono: soundfile and soxr, and PyAV for what soundfile cannot read.

torchaudio's own `load` is not used: it needs torchcodec, and gives whole files only.
"""

from __future__ import annotations

import io
import os
import re
import stat
from collections.abc import Callable, Iterator
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
"""Samples of all channels that are held at once while a file is read."""
SOURCE_RATES = (2_000, 1_000_000)
"""Lowest and highest sampling rate of a file that is read, in Hz: one of 1 Hz would grow to 16 000 times its size."""
LOUDEST = 2.0**31
"""Largest absolute sample of a file that is read: above the full scale of 32-bit numbers, and squares leave float32's range."""
_DEMUXERS = "aac,ac3,aiff,amr,ape,asf,avi,caf,flac,flv,matroska,mov,mp3,mpeg,mpegts,ogg,tta,w64,wav,wv"
"""What FFmpeg may take a file for. Without playlists: these would make it open other files."""
_TOLERANCE_SECONDS = 0.3
"""By how much less than its header says a compressed file may hold: encoders count their own delay. FLAC's is exact."""
_TOLERANCE_FRAMES = 64
"""The same where samples are stored one by one: some writers count the header's bytes too."""
_MALFORMED = 3
"""libsndfile's code of a file that it knows and that is broken: FFmpeg would read a part of it."""
_SHORT_CHUNK = re.compile(r"^ *(?:data|SSND|Data Size|riff) *: (\d+) \(should be (\d+)\)", re.MULTILINE)
"""What libsndfile notes where a WAV, AIFF, AU or W64 file has fewer bytes of samples than its header says."""
_BROKEN_OGG = re.compile(r"^Ogg ?: .*(?:lacks an end-of-stream|Skipped \d+ bytes|a hole at).*$", re.MULTILINE)
"""What it notes where pages of an Ogg file are missing; it reads over them."""
_UNKNOWN_SIZE = 0x7FFF0000
"""From here on a stated number of bytes means that whoever wrote the header did not know it."""
_EXACT_FORMATS = {"FLAC", "WAV", "WAVEX", "AIFF", "AU", "CAF", "W64", "RF64", "NIST"}
_EXACT_SUBTYPES = {"PCM_S8", "PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW"}
"""What states its length and can be read from any sample on, to the same bits as from the beginning (MP3 and Vorbis cannot)."""


class AudioError(ValueError):
    """A file that cannot be used as audio; the message names it and says why."""


def printable(path: str | Path) -> str:
    r"""A path as text that can be written anywhere: bytes of the name that are no UTF-8 become `\xNN`."""
    return os.fsencode(path).decode(errors="backslashreplace")


def files_below(folder: Path) -> list[Path]:
    """All audio files of a folder and its sub-folders, in order of their paths: none where there is no such folder. Links to
    folders are not followed.

    Raises:
        AudioError: a folder cannot be listed.
    """

    def refuse(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            raise AudioError(f"{error.filename}: cannot be searched: {error.strerror}") from error

    found = (Path(place, name) for place, _, names in os.walk(folder, onerror=refuse) for name in names)
    return sorted(file for file in found if file.suffix.lower() in EXTENSIONS)


def read(path: str | Path, rate: int = RATE) -> np.ndarray:
    """Read a file as mono at `rate` Hz.

    Returns:
        float32 array of shape `(samples,)`, full scale = 1.

    Raises:
        AudioError: as `blocks`.
    """
    return np.concatenate(list(blocks(path, rate)))


def read_crop(path: str | Path, samples: int, start: Callable[[int], int] = lambda length: 0) -> np.ndarray:
    """Exactly `fit(wave, samples, start(len(wave)))` of `wave = read(path)`, read and decoded no further than it needs.

    That is the crop alone where the file has 16 kHz and a format that gives its length and any sample at once: FLAC, or
    PCM in WAV, AIFF and the like. Any other file is read whole.

    Args:
        samples: wanted length.
        start: first sample of the crop, given the length of the whole; called once.

    Returns:
        float32 array of shape `(samples,)` at 16 kHz, full scale = 1.

    Raises:
        AudioError: as `blocks`; where the crop alone is read, damage outside of it is not seen.
    """
    path = Path(path)
    file = _by_sndfile(path)
    if isinstance(file, soundfile.SoundFile):
        with file:
            if _is_exact(file):
                return _crop(file, path, samples, start)
    wave = read(path)
    return fit(wave, samples, start(len(wave)))


def _is_exact(file: soundfile.SoundFile) -> bool:
    stated = file.frames < np.iinfo(np.int64).max
    return stated and file.samplerate == RATE and file.format in _EXACT_FORMATS and file.subtype in _EXACT_SUBTYPES


def _crop(file: soundfile.SoundFile, path: Path, samples: int, start: Callable[[int], int]) -> np.ndarray:
    length = file.frames
    if not length:
        raise AudioError(f"{path}: holds no samples")
    _require_whole(file, path, length)
    wanted = min(samples, length)
    first = min(start(length), length - wanted)
    try:
        if first:
            file.seek(first)
        wave = _mono(file.read(wanted, dtype="float32", always_2d=True))
    except soundfile.SoundFileError as error:
        raise AudioError(f"{path}: damaged after {first / RATE:.1f} s: {error}") from error
    if len(wave) < wanted:
        end, stated = (first + len(wave)) / RATE, length / RATE
        raise AudioError(f"{path}: cut off or damaged: it ends after {end:.1f} s, its header says {stated:.1f} s")
    _require_sane(wave, path)
    return fit(wave, samples)


def blocks(path: str | Path, rate: int = RATE) -> Iterator[np.ndarray]:
    """Read a file as mono at `rate` Hz piece by piece, so that its length costs no memory. Channels are averaged.

    Joined, the pieces are the file to its last sample: one that breaks off or is damaged ends in an error.

    Yields:
        float32 arrays of shape `(samples,)`, none of them empty, full scale = 1.

    Raises:
        AudioError: the file is absent, not a plain file, not audio, empty, cut off or damaged, holds NaN, infinite or absurdly
            large samples, or has an absurd sampling rate.
    """
    samples = 0
    with _opened(Path(path)) as (source_rate, waves):
        if not SOURCE_RATES[0] <= source_rate <= SOURCE_RATES[1]:
            raise AudioError(f"{path}: a sampling rate of {source_rate} Hz; of {SOURCE_RATES[0]} to {SOURCE_RATES[1]} is read")
        resampler = None if source_rate == rate else soxr.ResampleStream(source_rate, rate, 1)
        for wave in waves:
            _require_sane(wave, path)
            piece = wave if resampler is None else resampler.resample_chunk(wave)
            samples += len(piece)
            if len(piece):
                yield piece
    rest = np.zeros(0, np.float32) if resampler is None else resampler.resample_chunk(np.zeros(0, np.float32), last=True)
    if samples + len(rest) == 0:
        raise AudioError(f"{path}: holds no samples")
    if len(rest):
        yield rest


def _require_sane(wave: np.ndarray, path: str | Path) -> None:
    if -LOUDEST <= wave.min(initial=0) and wave.max(initial=0) <= LOUDEST:  # neither holds of NaN
        return
    what = "samples beyond 32-bit full scale" if np.isfinite(wave).all() else "NaN or infinite samples"
    raise AudioError(f"{path}: holds {what}; export it again as PCM")


def _mono(wave: np.ndarray) -> np.ndarray:
    """`(samples, channels)` -> `(samples,)`; numpy's mean of one channel costs as much as a tenth of decoding it."""
    return wave[:, 0] if wave.shape[1] == 1 else wave.mean(axis=1)


class _Straight(soundfile.SoundFile):
    """A file that is read on from where it stands: soundfile seeks after every read, and MP3 and Opus decoders lose the
    thread there."""

    def seekable(self) -> bool:
        return False

    def rewind(self) -> None:
        """Go to the beginning, where the format allows it; GSM does not."""
        if super().seekable():
            self.seek(0)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[int, Iterator[np.ndarray]]]:
    """A file's own rate in Hz, and its samples as mono blocks. libsndfile reads what it knows, FFmpeg the rest."""
    file = _by_sndfile(path)
    if isinstance(file, str):
        with _opened_by_ffmpeg(path, file) as opened:
            yield opened
        return
    with file:
        yield file.samplerate, _sndfile_blocks(file, path)


def _by_sndfile(path: Path) -> _Straight | str:
    """The file opened by libsndfile, or what that said of a format it does not know."""
    _require_file(path)
    try:
        return _Straight(str(path))
    except (soundfile.SoundFileError, TypeError) as error:  # TypeError: the name ends with .raw, so there is no header
        reason = getattr(error, "error_string", str(error))
        if getattr(error, "code", None) == _MALFORMED:
            raise AudioError(f"{path}: cannot be read as audio: {reason}") from error
        return reason


def _require_file(path: Path) -> None:
    """Raise an error unless there is a plain file, or a link to one: from a pipe or a device one could read for ever."""
    if printable(path) != str(path):
        raise AudioError(f"{printable(path)}: its name is not in UTF-8, so that it fits in no table: rename it")
    try:
        mode = path.stat().st_mode
    except FileNotFoundError as error:
        what = "a link to no such file" if path.is_symlink() else "no such file"
        raise AudioError(f"{path}: cannot be read as audio: {what}") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise AudioError(f"{path}: cannot be read as audio: {getattr(error, 'strerror', error)}") from error
    if not stat.S_ISREG(mode):
        what = "a folder" if stat.S_ISDIR(mode) else "not a file but a pipe, a socket or a device"
        raise AudioError(f"{path}: cannot be read as audio: {what}")


def _sndfile_blocks(file: _Straight, path: Path) -> Iterator[np.ndarray]:
    count = 0
    try:
        file.rewind()  # once: the MP3 decoder's first samples depend on it by a rounding error
        while len(wave := file.read(-(-BLOCK // file.channels), dtype="float32", always_2d=True)):
            count += len(wave)
            yield _mono(wave)
    except soundfile.SoundFileError as error:
        raise AudioError(f"{path}: damaged after {count / file.samplerate:.1f} s: {error}") from error
    _require_whole(file, path, count)


def _require_whole(file: soundfile.SoundFile, path: Path, count: int) -> None:
    """Raise an error if the file, of which `count` samples a channel can be read, should hold more."""
    missing = _missing_frames(file, path, count)
    stored = file.format in _EXACT_FORMATS and file.subtype in _EXACT_SUBTYPES
    allowed = 0 if file.format == "FLAC" else _TOLERANCE_FRAMES if stored else _TOLERANCE_SECONDS * file.samplerate
    if missing > allowed:
        raise AudioError(f"{path}: cut off or damaged: {missing / file.samplerate:.3g} s of what its header says are not there")
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
    if stream.duration is not None and stream.time_base is not None:
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
    if len(wave) >= samples:
        start = min(start, len(wave) - samples)
        return wave[start : start + samples]
    return np.tile(wave, -(-samples // len(wave)))[:samples]


def random_start(length: int, samples: int, rng: np.random.Generator) -> int:
    """A uniformly drawn first sample of a crop from `length` samples; 0, and nothing drawn, when the crop is not shorter."""
    return int(rng.integers(0, length - samples + 1)) if length > samples else 0


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
    coded = io.BytesIO()  # libsndfile does not say why it cannot write a file
    soundfile.write(coded, wave, rate, format="FLAC", subtype="PCM_16")
    with atomic(path) as file:
        file.write_bytes(coded.getbuffer())
