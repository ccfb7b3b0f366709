"""MP4 with its kin (M4A, MOV, 3GP), and Matroska with WebM: files joined end to end, of which a player shows the first."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

from aasist_lib.audio.containers.part import SLACK, Bytes, Damaged, Part, refuse_cut, refuse_rest

_BOX = re.compile(rb"[ -~\xa9]{4}")
_FIRST_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")
_EBML = re.compile(rb"\x1aE\xdf\xa3.{1,48}?\x42\x82.(?:webm|matroska)", re.DOTALL)


def is_mov(content: Bytes) -> bool:
    return content[4:8] in _FIRST_BOXES and struct.unpack(">I", content[:4])[0] != 0


def mov(content: Bytes, start: int) -> Iterator[Part]:
    """Boxes, of which an `ftyp` begins a file and one `moov` tells what is in it."""
    at, told = start, 0
    while at + 8 <= len(content):
        size, name = struct.unpack_from(">I4s", content, at)
        if not _BOX.fullmatch(name):
            refuse_rest(content, at, "its last box")
            break
        if size == 1 and at + 16 <= len(content):
            (size,) = struct.unpack_from(">Q", content, at + 8)
        if name == b"ftyp" and told:
            yield Part(start, at, "mov")
            start, told = at, 0
        told += name == b"moov"
        if told > 1:
            raise Damaged(
                f"a second recording, without a file header of its own, is appended (its 'moov' box is at byte {at}): "
                "split the file, or export each recording again"
            )
        if size < 8:  # 0: to the end of the file
            break
        at += size
    yield Part(start, len(content), "mov")


def matroska(content: Bytes, start: int) -> Iterator[Part]:
    """Each file begins with a header that names its kind."""
    begins = [found.start() for found in _EBML.finditer(content)]
    for at, stop in zip(begins, [*begins[1:], len(content)], strict=True):
        if stop == len(content) and (end := _segment_end(content, at)) is not None:
            refuse_cut(end - at, len(content) - at)
            refuse_rest(content, end, "its segment", SLACK)
        yield Part(at, stop, "matroska")


def _segment_end(content: Bytes, start: int) -> int | None:
    """Where the segment ends that follows a header; None where its size is unknown, as in a live recording."""
    header, at = _sized(content, start + 4)
    if header is None or content[at + header : at + header + 4] != b"\x18S\x80g":
        return None
    size, at = _sized(content, at + header + 4)
    return None if size is None else at + size


def _sized(content: Bytes, at: int) -> tuple[int | None, int]:
    """A size of one to eight bytes, None where all its bits are set, and the byte behind it."""
    length = 9 - content[at].bit_length()
    bits = 7 * length
    value = int.from_bytes(content[at : at + length]) & (1 << bits) - 1
    return None if value == (1 << bits) - 1 else value, at + length


def is_matroska(content: Bytes) -> bool:
    return _EBML.match(content) is not None
