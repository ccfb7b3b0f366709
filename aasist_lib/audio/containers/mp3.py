"""MP3: frames, and files joined end to end."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from aasist_lib.audio.containers.part import Bytes, Damaged, Part, refuse_rest

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
    """The layer III frame that begins at a byte, or None. Its length is unknown at a free bit rate, which counts as no
    frame."""
    head = content[at : at + 4]
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE6 != 0xE2:
        return None
    version, bits, rate = head[1] >> 3 & 3, head[2] >> 4, head[2] >> 2 & 3
    if version == 1 or bits in (0, 15) or rate == 3:
        return None
    first, hertz, mono = version == 3, _RATES[version][rate], head[3] >> 6 == 3
    size = (144_000 if first else 72_000) * _KBPS[1 if first else 2][bits] // hertz + (head[2] >> 1 & 1)
    return _Frame(size, 1152 if first else 576, hertz, mono, (17 if mono else 32) if first else (9 if mono else 17))


def is_mp3(content: Bytes) -> bool:
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


def mp3(content: Bytes, start: int) -> Iterator[Part]:
    """MP3 files, one after the other: a new one begins with a tag, with a frame that tells of the frames to come, or with
    another rate or number of channels."""
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
        Damaged: it is neither.
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
        refuse_rest(content, after, "its last frame")
        return len(content)
    raise Damaged(
        f"damaged after {seconds:.1f} s: {following - after} bytes there are not valid MP3 data: "
        "download or export the file again"
    )


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
    """What a Xing, Info or VBRI frame tells: how many frames follow (None: untold), and how many samples are the encoder's
    own."""
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
        raise Damaged(f"cut off: its header says {stated:.1f} s, it holds {there:.1f} s")
    if told.frames is not None and told.frames < frames:
        return Part(told.position + told.size, stop, "mp3", frames * of.samples, of.rate)
    return Part(begin, stop, "mp3", max(frames * of.samples - told.skipped, 0), of.rate)
