"""What an audio file is made of, told from its bytes: files joined end to end, chained streams, and headers that tell less
than there is.

Decoders stop where the first part ends, or where a header says so. `parts` gives each part as a range of bytes that is a
complete file, with the number of samples that it has to give, so that nothing is left out without a word.
"""

from __future__ import annotations

import mmap
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

Bytes = mmap.mmap | bytes


class AudioError(ValueError):
    """A file that cannot be used as audio; the message names it and says why."""


class _Damaged(Exception):
    """What is wrong with a file, without its name."""


@dataclass(frozen=True)
class Part:
    """A range of bytes of a file that is a complete audio file.

    `form` is the container as FFmpeg calls it, or 'sndfile' where libsndfile reads it. `samples` a channel have to be there
    (None: the bytes do not tell); `rate` in Hz goes with them. `patch` holds bytes to be read in the place of others, by their
    position in the file: a header put right.
    """

    start: int
    stop: int
    form: str
    samples: int | None = None
    rate: int = 0
    patch: tuple[tuple[int, bytes], ...] = ()


def parts(path: Path) -> list[Part]:
    """The parts of a file in their order; none where the container is not one that is looked into here.

    Raises:
        AudioError: bytes are missing in the middle or at the end, or there are bytes that no header accounts for.
    """
    try:
        with open(path, "rb") as file:
            if not (size := path.stat().st_size):
                return []
            with mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ) as content:
                for recognise, divide in _DIVISIONS:
                    if recognise(content):
                        return list(divide(content, 0))
    except _Damaged as error:
        raise AudioError(f"{path}: {error}") from error
    except OSError as error:
        raise AudioError(f"{path}: cannot be read as audio: {error.strerror}") from error
    return []


# ---- WAV, AIFF and their kin: chunks ---------------------------------------------------------------------------------

UNKNOWN_SIZE = 0x7FFF0000
"""From here on a stated number of bytes means that whoever wrote the header did not know it."""
_NAME = re.compile(rb"[ -~]{4}")
_SLACK = 16
"""So few bytes after the last chunk are padding."""


@dataclass(frozen=True)
class _Chunk:
    name: bytes
    body: int
    size: int
    next: int


def _chunks(content: Bytes, at: int, order: str, wide: dict[bytes, int]) -> Iterator[_Chunk]:
    """Chunks of a RIFF or FORM from `at` on, as far as their names and sizes make sense."""
    while at + 8 <= len(content):
        name = content[at : at + 4]
        (size,) = struct.unpack_from(f"{order}I", content, at + 4)
        if size == 0xFFFFFFFF:
            size = wide.get(name, size)
        yield _Chunk(name, at + 8, size, at + 8 + size)
        at += 8 + size + (size & 1)


def _riff(content: Bytes, start: int) -> Iterator[Part]:
    """A WAV, and any other file that follows it. A size that is too small is read over: the samples go to the end."""
    order = ">" if content[start : start + 4] in (b"RIFX", b"FORM") else "<"
    sound = b"SSND" if content[start : start + 4] == b"FORM" else b"data"
    wide: dict[bytes, int] = {}
    found: _Chunk | None = None
    for chunk in _chunks(content, start + 12, order, wide):
        if chunk.name == b"ds64":  # RF64: 64-bit sizes of the whole and of the samples
            wide[b"data"] = struct.unpack_from("<Q", content, chunk.body + 8)[0]
        if found is None:
            if chunk.name == sound:
                found = chunk
                if chunk.size >= UNKNOWN_SIZE and b"data" not in wide or chunk.next >= len(content) - _SLACK:
                    break
            continue
        if chunk.name in (b"RIFF", b"RIFX", b"RF64", b"FORM") and content[chunk.body : chunk.body + 4] in (b"WAVE", b"AIFF", b"AIFC"):
            yield Part(start, chunk.body - 8, "sndfile")
            yield from _riff(content, chunk.body - 8)
            return
        if not _NAME.fullmatch(chunk.name) or chunk.next > len(content) + 1:
            if _is_chain(content, found.next, order):  # a writer that leaves out the byte that makes sizes even
                break
            yield _read_on(content, start, found, order)
            return
    yield Part(start, len(content), "sndfile")


def _is_chain(content: Bytes, at: int, order: str) -> bool:
    """Whether chunks follow one another from `at` to the end, without bytes that make sizes even."""
    while at + 8 <= len(content):
        (size,) = struct.unpack_from(f"{order}I", content, at + 4)
        if not _NAME.fullmatch(content[at : at + 4]) or at + 8 + size > len(content):
            return False
        at += 8 + size
    return True


def _read_on(content: Bytes, start: int, data: _Chunk, order: str) -> Part:
    """A WAV whose samples go on behind the size that its header gives."""
    behind = len(content) - data.next
    if order == ">" or content[start : start + 4] == b"RF64":
        raise _Damaged(
            f"its header tells of {data.size} bytes of samples, and {behind} bytes that belong to nothing follow: export it again"
        )
    return Part(start, len(content), "sndfile", patch=((data.body - 4, b"\xff\xff\xff\xff"),))


_W64 = bytes.fromhex("726966662e91cf11a5d628db04c10000")


def _w64(content: Bytes, start: int) -> Iterator[Part]:
    """Sony Wave64: chunks whose names have 16 bytes and whose sizes count their own head."""
    at = start + 40
    while at + 24 <= len(content):
        (size,) = struct.unpack_from("<Q", content, at + 16)
        if size < 24 or at + size > len(content):
            if content[at : at + 4] in (b"data", b"fmt ", b"fact"):  # cut off, as libsndfile will say
                break
            raise _Damaged(f"{len(content) - at} bytes that belong to nothing follow its samples: export it again")
        at += -(-size // 8) * 8
    yield Part(start, len(content), "sndfile")


def _caf(content: Bytes, start: int) -> Iterator[Part]:
    """Apple's Core Audio format: 64-bit sizes; -1 = to the end."""
    at = start + 8
    while at + 12 <= len(content):
        name, size = struct.unpack_from(">4sq", content, at)
        if size < 0 and name == b"data":
            break
        if not _NAME.fullmatch(name) or size < 0 or at + 12 + size > len(content) and name != b"data":
            raise _Damaged(f"{len(content) - at} bytes that belong to nothing follow its samples: export it again")
        at += 12 + size
    yield Part(start, len(content), "sndfile")


def _au(content: Bytes, start: int) -> Iterator[Part]:
    """Sun's AU: one header, then samples."""
    if len(content) >= start + 24:
        offset, size = struct.unpack_from(">II", content, start + 4)
        behind = len(content) - start - offset - size
        if size < UNKNOWN_SIZE and behind > _SLACK:
            raise _Damaged(f"its header tells of {size} bytes of samples, and {behind} more follow: export it again")
    yield Part(start, len(content), "sndfile")


def _nist(content: Bytes, start: int) -> Iterator[Part]:
    """NIST SPHERE: a text header."""
    head = bytes(content[start : start + 1024])
    told = {name: int(value) for name, value in re.findall(rb"(\w+) -i (\d+)", head)}
    named = (b"sample_count", b"sample_n_bytes", b"channel_count")
    if all(name in told for name in named):
        size = told[named[0]] * told[named[1]] * told[named[2]]
        behind = len(content) - start - int(head[8:16]) - size
        if behind > _SLACK:
            raise _Damaged(f"its header tells of {size} bytes of samples, and {behind} more follow: export it again")
    yield Part(start, len(content), "sndfile")


# ---- FLAC ------------------------------------------------------------------------------------------------------------

_FLAC_START = re.compile(rb"fLaC[\x00\x80]\x00\x00\x22")
_TAIL = 1 << 18
_CRC8 = bytes(
    (lambda value: [value := (value << 1 ^ 7 if value & 128 else value << 1) & 255 for _ in range(8)][-1])(byte)
    for byte in range(256)
)


def _flac(content: Bytes, start: int) -> Iterator[Part]:
    """FLAC files, one after the other; where a header tells of fewer samples than there are, it is put right."""
    begins = [found.start() for found in _FLAC_START.finditer(content)]
    for at, stop in zip(begins, [*begins[1:], len(content)], strict=True):
        yield _flac_part(content, at, stop)


def _flac_part(content: Bytes, start: int, stop: int) -> Part:
    part = Part(start, stop, "sndfile")
    if stop - start < 42:
        return part
    (packed,) = struct.unpack_from(">Q", content, start + 18)
    rate, total = packed >> 44, packed & (1 << 36) - 1
    ends = sorted(_flac_frame_ends(content, max(start + 42, stop - _TAIL), stop, start))
    if not total or not ends or total in ends or ends[-1] <= total:
        return part  # what lacks is found in decoding
    right = packed >> 36 << 36 | ends[-1]
    return replace(part, samples=ends[-1], rate=rate, patch=((start + 18, struct.pack(">Q", right)),))


def _flac_frame_ends(content: Bytes, first: int, stop: int, start: int) -> Iterator[int]:
    """The sample after each frame that begins from byte `first` on, by the numbers that frames carry."""
    smallest, largest = struct.unpack_from(">HH", content, start + 8)
    tail = content[first:stop]
    for found in re.finditer(rb"\xff[\xf8\xf9]", tail):
        head = tail[found.start() : found.start() + 16]
        if (frame := _flac_frame(head)) is None:
            continue
        by_sample, number, size = frame
        yield (number if by_sample else number * largest) + size


def _flac_frame(head: bytes) -> tuple[bool, int, int] | None:
    """Of a frame's head: whether its number counts samples, the number, and the frame's samples; None where it is no head."""
    if len(head) < 6 or head[2] >> 4 == 0 or head[2] & 15 == 15 or head[3] & 1 or head[3] >> 4 > 10:
        return None
    length = max(1, 8 - (head[4] ^ 0xFF).bit_length()) if head[4] & 0x80 else 1
    if length == 8 or len(head) < 6 + length:
        return None
    number = head[4] & (0x7F >> length if length > 1 else 0x7F)
    for byte in head[5 : 4 + length]:
        number = number << 6 | byte & 0x3F
    at, code = 4 + length, head[2] >> 4
    extra = {6: 1, 7: 2}.get(code, 0)
    told = int.from_bytes(head[at : at + extra]) + 1
    at += extra + {12: 1, 13: 2, 14: 2}.get(head[2] & 15, 0)
    crc = 0
    for byte in head[:at]:
        crc = _CRC8[crc ^ byte]
    if at >= len(head) or crc != head[at]:
        return None
    size = told if extra else 192 if code == 1 else 576 << code - 2 if code <= 5 else 256 << code - 8
    return bool(head[1] & 1), number, size


# ---- Ogg: pages, in links of a chain ----------------------------------------------------------------------------------

_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_FIRST, _LAST = 2, 4
_MOST_SAMPLES = 255 * 8192
"""Of a page: 255 packets of Vorbis' longest block."""


@dataclass
class _Stream:
    """A logical stream of an Ogg file."""

    head: bytes
    pages: int = 0
    granule: int = 0
    offset: bool = False
    ended: bool = False


def _ogg(content: Bytes, start: int) -> Iterator[Part]:
    """The links of a chained Ogg file: each begins with pages that begin streams."""
    at, link, beginning = start, start, True
    streams: dict[int, _Stream] = {}
    while at < len(content):
        if content[at : at + 4] != b"OggS" or at + 27 > len(content):
            if at + 27 > len(content) or not any(content[at : at + _SLACK]):
                raise _Damaged(f"cut off or damaged{_at_seconds(streams)}: the last page of the Ogg stream is not whole")
            raise _Damaged(f"damaged{_at_seconds(streams)}: {len(content) - at} bytes from there on are no page of an Ogg stream")
        kind, granule, serial, number, crc, count = struct.unpack_from("<xxxxxBqIIIB", content, at)
        end = at + 27 + count + sum(content[at + 27 : at + 27 + count])
        if end > len(content):
            raise _Damaged(f"cut off{_at_seconds(streams)}: the last page of the Ogg stream is not whole")
        if _ogg_crc(content[at:end]) != crc:
            raise _Damaged(f"damaged{_at_seconds(streams)}: a page of the Ogg stream has other bytes than its checksum tells")
        if kind & _FIRST:
            if not beginning:
                yield _link(streams, link, at)
                streams, link = {}, at
            streams[serial] = _Stream(bytes(content[at + 27 + count : end]))
        stream = streams.get(serial)
        if stream is None or number != stream.pages:
            raise _Damaged(f"damaged{_at_seconds(streams)}: pages of the Ogg stream are missing")
        stream.pages += 1
        stream.ended |= bool(kind & _LAST)
        if granule > 0:
            stream.offset |= not stream.granule and granule > _MOST_SAMPLES
            stream.granule = granule
        beginning, at = bool(kind & _FIRST), end
    yield _link(streams, link, at)


def _link(streams: dict[int, _Stream], start: int, stop: int) -> Part:
    known = [(stream, *told) for stream in streams.values() if (told := _ogg_sound(stream.head))]
    for stream, _, _ in known:
        if not stream.ended:
            raise _Damaged(f"cut off{_at_seconds(streams)}: the Ogg stream lacks its last page")
    if len(known) != 1:
        return Part(start, stop, "ogg")
    stream, rate, skipped = known[0]
    samples = None if stream.offset else max(stream.granule - skipped, 0)
    return Part(start, stop, "sndfile" if len(streams) == 1 else "ogg", samples, rate)


def _ogg_sound(head: bytes) -> tuple[int, int] | None:
    """The rate that granules count in, and how many of them are no sound; None of a stream that is no Vorbis or Opus."""
    if head.startswith(b"\x01vorbis"):
        return struct.unpack_from("<I", head, 12)[0], 0
    if head.startswith(b"OpusHead"):
        return 48_000, struct.unpack_from("<H", head, 10)[0]
    return None


def _ogg_crc(page: bytes) -> int:
    """Ogg's checksum is zlib's with all bits the other way round; the place where it is kept counts as 0."""
    mirrored = (page[:22] + bytes(4) + page[26:]).translate(_REVERSED)
    return int(f"{zlib.crc32(mirrored, 0xFFFFFFFF) ^ 0xFFFFFFFF:032b}"[::-1], 2)


def _at_seconds(streams: dict[int, _Stream]) -> str:
    for stream in streams.values():
        if told := _ogg_sound(stream.head):
            return f" after {max(stream.granule - told[1], 0) / told[0]:.1f} s"
    return ""


# ---- MP3: frames -----------------------------------------------------------------------------------------------------

_KBPS = {  # by version 1 or 2, of layer III
    1: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    2: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}


@dataclass(frozen=True)
class _Frame:
    size: int
    samples: int
    rate: int
    mono: bool
    side: int


def _frame(content: Bytes, at: int) -> _Frame | None:
    """The layer III frame that begins at a byte, or None. Its length is unknown at a free bit rate, which counts as no frame."""
    head = content[at : at + 4]
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE6 != 0xE2:
        return None
    version, bits, rate = head[1] >> 3 & 3, head[2] >> 4, head[2] >> 2 & 3
    if version == 1 or bits in (0, 15) or rate == 3:
        return None
    first, hertz, mono = version == 3, _RATES[version][rate], head[3] >> 6 == 3
    size = (144_000 if first else 72_000) * _KBPS[1 if first else 2][bits] // hertz + (head[2] >> 1 & 1)
    return _Frame(size, 1152 if first else 576, hertz, mono, (17 if mono else 32) if first else (9 if mono else 17))


def _is_mp3(content: Bytes) -> bool:
    at = _after_tags(content, 0)
    first = _frame(content, at)
    return first is not None and (at + first.size == len(content) or _frame(content, at + first.size) is not None)


def _after_tags(content: Bytes, at: int) -> int:
    """The first byte after ID3v2 and APE tags that begin here."""
    while True:
        head = content[at : at + 16]
        if head[:3] == b"ID3" and len(head) >= 10:
            at += 10 + sum(byte << 7 * place for place, byte in enumerate(head[9:5:-1]))
        elif head[:8] == b"APETAGEX" and len(head) == 16:
            at += 32 + struct.unpack_from("<I", head, 12)[0]
        else:
            return at


def _mp3(content: Bytes, start: int) -> Iterator[Part]:
    """MP3 files, one after the other: a new one begins with a tag, with a frame that tells of the frames to come, or with another
    rate or number of channels."""
    at = begin = _after_tags(content, start)
    told, frames, of = None, 0, None
    while at < len(content):
        frame = _frame(content, at)
        if frame is None or at + frame.size > len(content):
            after = _mp3_resumes(content, at, frames * of.samples / of.rate if of else 0.0)
            if of is not None:
                yield _mp3_part(begin, at, told, frames, of)
            begin = at = after
            told, frames, of = None, 0, None
            continue
        info = _mp3_info(content, at, frame)
        if of is not None and (info or (frame.rate, frame.mono) != (of.rate, of.mono)):
            yield _mp3_part(begin, at, told, frames, of)
            begin, frames, told = at, 0, None
        told, of = info or told, frame
        frames += info is None
        at += frame.size
    if of is not None:
        yield _mp3_part(begin, at, told, frames, of)


def _mp3_resumes(content: Bytes, at: int, seconds: float) -> int:
    """Where the next frame begins, or the end. What lies before it may be tags, and at the end a part of a frame.

    Raises:
        _Damaged: it is neither.
    """
    after = _after_tags(content, at)
    if after > at and _frame(content, after) is not None:
        return after
    if content[after : after + 3] == b"TAG":  # ID3v1, of 128 bytes
        after += 128
        if after >= len(content) or _frame(content, after) is not None:
            return min(after, len(content))
        after = _after_tags(content, after)
        if _frame(content, after) is not None:
            return after
    following = _next_frame(content, after)
    if following is None:
        return len(content)
    raise _Damaged(f"damaged after {seconds:.1f} s: {following - after} bytes there are no frame of an MP3")


def _next_frame(content: Bytes, at: int) -> int | None:
    """Where the next two frames in a row begin."""
    while (at := content.find(b"\xff", at)) >= 0:
        frame = _frame(content, at)
        if frame is not None and _frame(content, at + frame.size) is not None:
            return at
        at += 1
    return None


@dataclass(frozen=True)
class _Info:
    frames: int | None
    skipped: int
    position: int
    size: int


def _mp3_info(content: Bytes, at: int, frame: _Frame) -> _Info | None:
    """What a Xing, Info or VBRI frame tells: how many frames follow (None: untold), and how many samples are the encoder's own."""
    body = content[at + 4 + frame.side : at + frame.size]
    if body[:4] in (b"Xing", b"Info"):
        (flags,) = struct.unpack_from(">I", body, 4)
        frames = struct.unpack_from(">I", body, 8)[0] if flags & 1 else None
        place = 8 + 4 * bin(flags & 0b1011).count("1") + (100 if flags & 0b100 else 0)
        lame, skipped = body[place : place + 24], 0
        if len(lame) == 24 and lame[:4] in (b"LAME", b"Lavf", b"Lavc"):
            delays = int.from_bytes(lame[21:])
            skipped = (delays >> 12) + (delays & 0xFFF)
        return _Info(frames, skipped, at, frame.size)
    if content[at + 36 : at + 40] == b"VBRI":
        return _Info(struct.unpack_from(">I", content, at + 50)[0], 0, at, frame.size)
    return None


def _mp3_part(begin: int, stop: int, told: _Info | None, frames: int, of: _Frame) -> Part:
    """A part; a frame that tells of another number of frames than there are is left out, so that nobody goes by it."""
    if told is None:
        return Part(begin, stop, "mp3", frames * of.samples, of.rate)
    if told.frames is not None and told.frames > frames + 1:
        there, stated = (number * of.samples / of.rate for number in (frames, told.frames))
        raise _Damaged(f"cut off: its header says {stated:.1f} s, it holds {there:.1f} s")
    if told.frames is not None and told.frames < frames:
        return Part(told.position + told.size, stop, "mp3", frames * of.samples, of.rate)
    return Part(begin, stop, "mp3", max(frames * of.samples - told.skipped, 0), of.rate)


# ---- which is which --------------------------------------------------------------------------------------------------


def _begins(*marks: bytes) -> Callable[[Bytes], bool]:
    return lambda content: any(content[: len(mark)] == mark for mark in marks)


def _is_riff(content: Bytes) -> bool:
    return content[:4] in (b"RIFF", b"RIFX", b"RF64") and content[8:12] == b"WAVE" or (
        content[:4] == b"FORM" and content[8:12] in (b"AIFF", b"AIFC")
    )


_DIVISIONS: tuple[tuple[Callable[[Bytes], bool], Callable[[Bytes, int], Iterator[Part]]], ...] = (
    (_is_riff, _riff),
    (_begins(b"fLaC"), _flac),
    (_begins(b"OggS"), _ogg),
    (_begins(_W64), _w64),
    (_begins(b"caff"), _caf),
    (_begins(b".snd"), _au),
    (_begins(b"NIST_1A"), _nist),
    (_is_mp3, _mp3),
)
