"""WAV, AIFF and their kin: formats whose header states how many bytes of samples follow."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from aasist_lib.audio.containers.part import SLACK, Bytes, Damaged, Part, refuse_another, refuse_cut

UNKNOWN_SIZE = 0x7FFF0000
"""From here on a stated number of bytes means that whoever wrote the header did not know it."""
_NAME = re.compile(rb"[ -~]{4}")


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


def riff(content: Bytes, start: int) -> Iterator[Part]:
    """A WAV or AIFF, and any other that follows it. A size that is too small is read over: the samples go to the end."""
    begin: int | None = start
    while begin is not None:
        part, begin = _riff_part(content, begin)
        yield part


def _riff_part(content: Bytes, start: int) -> tuple[Part, int | None]:
    """The file that begins at a byte, and where another one does."""
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
                if b"data" in wide:  # of the other kinds libsndfile says what is missing
                    refuse_cut(chunk.size, len(content) - chunk.body)
                if chunk.size >= UNKNOWN_SIZE and b"data" not in wide or chunk.next >= len(content) - SLACK:
                    break
            continue
        if is_riff(content, chunk.body - 8):
            return Part(start, chunk.body - 8, "sndfile"), chunk.body - 8
        if not _NAME.fullmatch(chunk.name) or chunk.next > len(content) + 1:
            if _is_chain(content, found.next, order):  # a writer that leaves out the byte that makes sizes even
                break
            return _read_on(content, start, found, order), None
    return Part(start, len(content), "sndfile"), None


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
    for at in (data.next, data.next + 1):
        refuse_another(content, at)
    behind = len(content) - data.next
    if order == ">" or content[start : start + 4] == b"RF64":
        raise Damaged(
            f"the header declares {data.size} bytes of audio, but {behind} unrecognised bytes follow: export the file again"
        )
    return Part(start, len(content), "sndfile", patch=((data.body - 4, b"\xff\xff\xff\xff"),))


W64 = bytes.fromhex("726966662e91cf11a5d628db04c10000")


def w64(content: Bytes, start: int) -> Iterator[Part]:
    """Sony Wave64: chunks whose names have 16 bytes and whose sizes count their own head."""
    at = start + 40
    while at + 24 <= len(content):
        (size,) = struct.unpack_from("<Q", content, at + 16)
        if size < 24 or at + size > len(content):
            if content[at : at + 4] == b"data":
                if size < UNKNOWN_SIZE:
                    refuse_cut(size - 24, len(content) - at - 24)
                break
            raise Damaged(f"{len(content) - at} unrecognised bytes at the end of the file: export the file again")
        at += -(-size // 8) * 8
    yield Part(start, len(content), "sndfile")


def caf(content: Bytes, start: int) -> Iterator[Part]:
    """Apple's Core Audio format: 64-bit sizes; -1 = to the end."""
    at = start + 8
    while at + 12 <= len(content):
        name, size = struct.unpack_from(">4sq", content, at)
        if size < 0 and name == b"data":  # which libsndfile refuses
            whole = struct.pack(">q", len(content) - at - 12)
            yield Part(start, len(content), "sndfile", patch=((at + 4, whole),))
            return
        if not _NAME.fullmatch(name) or size < 0 or at + 12 + size > len(content) and name != b"data":
            raise Damaged(f"{len(content) - at} unrecognised bytes at the end of the file: export the file again")
        at += 12 + size
    yield Part(start, len(content), "sndfile")


def au(content: Bytes, start: int) -> Iterator[Part]:
    """Sun's AU: one header, then samples."""
    if len(content) >= start + 24:
        offset, size = struct.unpack_from(">II", content, start + 4)
        behind = len(content) - start - offset - size
        if size < UNKNOWN_SIZE and behind > SLACK:
            raise Damaged(f"the header declares {size} bytes of audio, but {behind} more bytes follow: export the file again")
    yield Part(start, len(content), "sndfile")


def nist(content: Bytes, start: int) -> Iterator[Part]:
    """NIST SPHERE: a text header."""
    head = bytes(content[start : start + 1024])
    told = {name: int(value) for name, value in re.findall(rb"(\w+) -i (\d+)", head)}
    named = (b"sample_count", b"sample_n_bytes", b"channel_count")
    begins = re.fullmatch(rb" *(\d+)\n", head[8:16])
    if begins and all(name in told for name in named):
        size, there = told[named[0]] * told[named[1]] * told[named[2]], len(content) - start - int(begins[1])
        refuse_cut(size, there)
        if there > size + SLACK:
            raise Damaged(
                f"the header declares {size} bytes of audio, but {there - size} more bytes follow: export the file again"
            )
    yield Part(start, len(content), "sndfile")


def is_riff(content: Bytes, at: int = 0) -> bool:
    """Whether a WAV or AIFF begins at a byte."""
    kind = content[at + 8 : at + 12]
    return (
        content[at : at + 4] in (b"RIFF", b"RIFX", b"RF64")
        and kind == b"WAVE"
        or (content[at : at + 4] == b"FORM" and kind in (b"AIFF", b"AIFC"))
    )
