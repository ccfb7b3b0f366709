"""Ogg: pages, in the links of a chain."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from aasist_lib.audio.containers.part import SLACK, Bytes, Damaged, Part

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


def ogg(content: Bytes, start: int) -> Iterator[Part]:
    """The links of a chained Ogg file: each begins with pages that begin streams."""
    at, link, beginning = start, start, True
    streams: dict[int, _Stream] = {}
    while at < len(content):
        if content[at : at + 4] != b"OggS" or at + 27 > len(content):
            if at + 27 > len(content) or not any(content[at : at + SLACK]):
                raise Damaged(f"cut off or damaged{_at_seconds(streams)}: the last page of the Ogg stream is incomplete")
            raise Damaged(
                f"damaged{_at_seconds(streams)}: {len(content) - at} bytes from there on are not valid Ogg data: "
                "download or export the file again"
            )
        kind, granule, serial, number, crc, count = struct.unpack_from("<xxxxxBqIIIB", content, at)
        end = at + 27 + count + sum(content[at + 27 : at + 27 + count])
        if end > len(content):
            raise Damaged(f"cut off{_at_seconds(streams)}: the last page of the Ogg stream is incomplete")
        if _ogg_crc(content[at:end]) != crc:
            raise Damaged(f"damaged{_at_seconds(streams)}: an Ogg page fails its checksum: download or export the file again")
        if kind & _FIRST:
            if not beginning:
                yield _link(streams, link, at)
                streams, link = {}, at
            streams[serial] = _Stream(bytes(content[at + 27 + count : end]))
        stream = streams.get(serial)
        if stream is None or number != stream.pages:
            raise Damaged(f"damaged{_at_seconds(streams)}: pages of the Ogg stream are missing")
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
            raise Damaged(f"cut off{_at_seconds(streams)}: the Ogg stream lacks its last page")
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
