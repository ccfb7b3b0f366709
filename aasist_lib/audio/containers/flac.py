"""FLAC: files joined end to end, and headers that count too few samples."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import replace

from aasist_lib.audio.containers.part import Bytes, Part

_FLAC_START = re.compile(rb"fLaC[\x00\x80]\x00\x00\x22")
_TAIL = 1 << 18
_CRC8 = bytes(
    (lambda value: [value := (value << 1 ^ 7 if value & 128 else value << 1) & 255 for _ in range(8)][-1])(byte)
    for byte in range(256)
)


def flac(content: Bytes, start: int) -> Iterator[Part]:
    """FLAC files, one after the other; where a header tells of fewer samples than there are, it is put right."""
    begins = [start, *(found.start() for found in _FLAC_START.finditer(content, start + 1))]
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
