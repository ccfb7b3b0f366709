"""Decode an audio file completely: all of its parts, at its own rate, with its own channels.

libsndfile reads formats whose length it knows exactly (FLAC, WAV, AIFF and similar) and, one by one, the links of a chained
Vorbis or Opus file. FFmpeg (PyAV) reads all others; it returns Vorbis of some encoders a fraction of a second too short. The
result is compared with the lengths that `containers.parts` counted.
"""

from __future__ import annotations

import io
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import numpy as np
import soundfile
from numpy.typing import NDArray

from aasist_lib.audio.containers import UNKNOWN_SIZE, AudioError, Part, parts

Block = tuple[int, NDArray[np.float32]]
"""A rate in Hz, and samples `(samples, channels)`."""
BLOCK = 1 << 18
"""Samples of all channels that are read at a time."""
_DEMUXERS = "aac,ac3,aiff,amr,asf,caf,flac,matroska,mov,mp3,mpeg,mpegts,ogg,w64,wav,wv"
"""Formats that FFmpeg may use. Excluded are playlists, which open other files, and AVI, FLV, TTA and APE, of which it silently
reads only the first of several concatenated files."""
_TOLERANCE_SECONDS = 0.3
"""By how much a compressed file may be shorter than its header says: encoders count their delay. FLAC is exact."""
_TOLERANCE_FRAMES = 64
"""The same for uncompressed samples: some writers count the header's bytes too."""
_TOLERANCE_COUNTED = 1200
"""The same in samples if frames were counted: a decoder's delay, and the last frame of an MP3."""
_MALFORMED = 3
"""libsndfile's error code for a damaged file of a known format; FFmpeg would read a part of it."""
_SHORT_CHUNK = re.compile(r"^ *(?:data|SSND|Data Size|riff) *: (\d+) \(should be (\d+)\)", re.MULTILINE)
"""libsndfile's log text for a WAV, AIFF, AU or W64 file with fewer samples than its header says."""
_BY_FFMPEG = {"OGG", "MP3", "MPEG"}
"""Formats of which libsndfile reads only the first part."""
_EXACT_FORMATS = {"FLAC", "WAV", "WAVEX", "AIFF", "AU", "CAF", "W64", "RF64", "NIST"}
_EXACT_SUBTYPES = {"PCM_S8", "PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW"}
"""Formats with exact length and random access, with the same bits as sequential reading."""


def printable(path: str | Path) -> str:
    r"""A path as printable text: bytes that are not UTF-8 become `\xNN`."""
    return os.fsencode(path).decode(errors="backslashreplace")


def decode(path: Path) -> Iterator[Block]:
    """Decode a file in blocks. Rate and number of channels may change between blocks.

    Raises:
        AudioError: the file is missing, not a regular file, not audio, truncated or damaged.
    """
    require_file(path)
    found = parts(path)
    if not found:
        yield from _unknown(path)
    for part in found:
        yield from _by_sndfile(path, part) if part.form == "sndfile" else _by_ffmpeg(path, part)


def open_exact(path: Path) -> soundfile.SoundFile | None:
    """The file opened for random access, or None if its format has none.

    Raises:
        AudioError: as `decode`, as far as the header shows.
    """
    require_file(path)
    found = parts(path)
    if len(found) != 1 or found[0].form != "sndfile" or found[0].patch:
        return None
    file = _open_sndfile(path, found[0], soundfile.SoundFile)
    exact = file.frames < np.iinfo(np.int64).max and file.format in _EXACT_FORMATS and file.subtype in _EXACT_SUBTYPES
    if not exact:
        file.close()
        return None
    _require_whole(file, path, file.frames)
    return file


def require_file(path: Path) -> None:
    """Raise an error unless the path is a regular file or a link to one: reading a pipe or a device might never end."""
    if printable(path) != str(path):
        raise AudioError(f"{printable(path)}: the path is not valid UTF-8: rename the file or folder")
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


def _unknown(path: Path) -> Iterator[Block]:
    """Decode a file of unknown structure with libsndfile or FFmpeg."""
    whole = Part(0, path.stat().st_size, "")
    try:
        with soundfile.SoundFile(str(path)) as file:
            known = file.format not in _BY_FFMPEG
        refusal = "of a form that is read by FFmpeg."
    except (soundfile.SoundFileError, TypeError) as error:  # TypeError: the name ends with .raw, so there is no header
        known, refusal = False, getattr(error, "error_string", str(error))
        if getattr(error, "code", None) == _MALFORMED:
            raise AudioError(f"{path}: cannot be read as audio: {refusal}") from error
    yield from _by_sndfile(path, whole) if known else _by_ffmpeg(path, whole, refusal)


# ---- libsndfile ------------------------------------------------------------------------------------------------------


class _Straight(soundfile.SoundFile):
    """A file that is read on from where it is: soundfile seeks after every read, which a FLAC without a length does not
    take."""

    def seekable(self) -> bool:
        return False


def _open_sndfile(path: Path, part: Part, kind: type[soundfile.SoundFile] = _Straight) -> soundfile.SoundFile:
    plain = not part.start and not part.patch and part.stop == path.stat().st_size
    try:
        return kind(str(path) if plain and path.suffix.lower() != ".raw" else _Range(path, part))
    except soundfile.SoundFileError as error:
        raise AudioError(f"{path}: cannot be read as audio: {getattr(error, 'error_string', error)}") from error


def _by_sndfile(path: Path, part: Part) -> Iterator[Block]:
    count, before = 0, part.start
    with _open_sndfile(path, part) as file:
        try:
            while len(wave := file.read(-(-BLOCK // file.channels), dtype="float32", always_2d=True)):
                count += len(wave)
                yield file.samplerate, wave
        except soundfile.SoundFileError as error:
            where = f" of the part from byte {before} on" if before else ""
            raise AudioError(f"{path}: damaged after {count / file.samplerate:.1f} s{where}: {error}") from error
        _require_whole(file, path, count)
        _require_counted(path, part, count / file.samplerate)


def _require_counted(path: Path, part: Part, seconds: float) -> None:
    """Raise an error if a part holds more than the seconds that were decoded, by the samples that were counted in its bytes."""
    if part.samples is not None and seconds < (part.samples - _TOLERANCE_COUNTED) / part.rate:
        stated = part.samples / part.rate
        raise AudioError(f"{path}: cut off or damaged: of {stated:.1f} s only {seconds:.1f} s can be decoded")


def _require_whole(file: soundfile.SoundFile, path: Path, count: int) -> None:
    """Raise an error if the file should have more than the `count` samples per channel that can be read."""
    missing = _missing_frames(file, count)
    stored = file.format in _EXACT_FORMATS and file.subtype in _EXACT_SUBTYPES
    allowed = 0 if file.format == "FLAC" else _TOLERANCE_FRAMES if stored else _TOLERANCE_SECONDS * file.samplerate
    if missing > allowed:
        raise AudioError(f"{path}: cut off or damaged: {missing / file.samplerate:.3g} s of what its header says are not there")


def _missing_frames(file: soundfile.SoundFile, count: int) -> float:
    """Number of missing samples per channel beyond the `count` that were read."""
    short = _SHORT_CHUNK.search(file.extra_info)
    if short:
        stated, found = map(int, short.groups())
        return 0 if stated >= UNKNOWN_SIZE else (stated - found) * count / found
    return file.frames - count if file.frames < np.iinfo(np.int64).max else 0


class _Range(io.RawIOBase):
    """A part of a file as a file object, with some bytes replaced."""

    def __init__(self, path: Path, part: Part) -> None:
        self._file, self._part, self._at = open(path, "rb"), part, 0  # noqa: SIM115  # closed with this

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._part.stop - self._part.start}[whence]
        self._at = max(0, base + offset)
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        first = self._part.start + self._at
        self._file.seek(first)
        wanted = max(0, min(len(buffer), self._part.stop - first))
        content = bytearray(self._file.read(wanted))
        for at, right in self._part.patch:
            for place, byte in enumerate(right, at - first):
                if 0 <= place < len(content):
                    content[place] = byte
        buffer[: len(content)] = content
        self._at += len(content)
        return len(content)

    def close(self) -> None:
        self._file.close()
        super().close()


# ---- FFmpeg ----------------------------------------------------------------------------------------------------------


@contextmanager
def _opened(path: Path, part: Part, refusal: str) -> Iterator[av.container.InputContainer]:
    allowed = {"format_whitelist": _DEMUXERS, "protocol_whitelist": "file"}
    name: Any = _Range(path, part) if part.form else str(path.resolve())
    try:
        container = av.open(
            name, format=part.form or None, container_options=allowed if not part.form else {}, metadata_errors="replace"
        )
    except av.FFmpegError as error:
        raise AudioError(f"{path}: cannot be read as audio: {refusal} FFmpeg: {error.strerror}") from error
    with container:
        yield container


def _by_ffmpeg(path: Path, part: Part, refusal: str = "") -> Iterator[Block]:
    """As `_by_sndfile`; `refusal` is what libsndfile said."""
    with _opened(path, part, refusal) as container:
        stream = next((stream for stream in container.streams.audio if getattr(stream, "rate", None)), None)
        if stream is None:  # or FFmpeg chose the format by the file's name and found no audio
            raise AudioError(f"{path}: cannot be read as audio: {refusal} FFmpeg: no sound track")
        seconds = 0.0
        try:
            for rate, wave in _gathered(container.decode(stream)):
                seconds += len(wave) / rate
                yield rate, wave
        except (av.FFmpegError, ValueError) as error:
            reason = getattr(error, "strerror", error)
            raise AudioError(f"{path}: damaged after {seconds:.1f} s: {reason}") from error
        _require_counted(path, part, seconds)
        stated = _stated_seconds(container, stream)
        if stated is not None and seconds < stated - _TOLERANCE_SECONDS:
            raise AudioError(f"{path}: cut off: its header says {stated:.1f} s, it holds {seconds:.1f} s")


def _gathered(frames: Iterator[av.AudioFrame]) -> Iterator[Block]:
    """Collect frames into blocks with one rate and one number of channels each."""
    held: list[NDArray[np.float32]] = []
    of: tuple[int, str, str] | None = None
    floats = av.AudioResampler(format="fltp")
    for frame in frames:
        kind = frame.sample_rate, frame.layout.name, frame.format.name
        if of is not None and kind != of or sum(wave.size for wave in held) >= BLOCK:
            yield (of or kind)[0], np.concatenate(held)
            held = []
        if kind != of:
            of, floats = kind, av.AudioResampler(format="fltp")
        held += [piece.to_ndarray().T.astype(np.float32, copy=False) for piece in floats.resample(frame)]
    if held and of is not None:
        yield of[0], np.concatenate(held)


def _stated_seconds(container: av.container.InputContainer, stream: av.AudioStream) -> float | None:
    """The duration in the header; None if there is none, or if FFmpeg estimates it from the bit rate."""
    if not {"mov", "matroska", "asf"} & set(container.format.name.split(",")):
        return None
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    return container.duration / av.time_base if container.duration and len(container.streams) == 1 else None
