"""What an audio file is made of, told from its bytes: files joined end to end, chained streams, and headers that tell less
than there is.

Decoders stop where the first part ends, or where a header says so. `parts` gives each part as a range of bytes that is a
complete file, with the number of samples that it has to give, so that nothing is left out without a word.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator
from pathlib import Path

from aasist_lib.audio.containers.chunks import UNKNOWN_SIZE as UNKNOWN_SIZE
from aasist_lib.audio.containers.chunks import W64, au, caf, is_riff, nist, riff, w64
from aasist_lib.audio.containers.films import is_matroska, is_mov, matroska, mov
from aasist_lib.audio.containers.flac import flac
from aasist_lib.audio.containers.mp3 import is_mp3, mp3
from aasist_lib.audio.containers.ogg import ogg
from aasist_lib.audio.containers.part import AudioError as AudioError
from aasist_lib.audio.containers.part import Bytes, Damaged, Part


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
    except Damaged as error:
        raise AudioError(f"{path}: {error}") from error
    except OSError as error:
        raise AudioError(f"{path}: cannot be read as audio: {error.strerror}") from error
    return []


def _begins(*marks: bytes) -> Callable[[Bytes], bool]:
    return lambda content: any(content[: len(mark)] == mark for mark in marks)


_DIVISIONS: tuple[tuple[Callable[[Bytes], bool], Callable[[Bytes, int], Iterator[Part]]], ...] = (
    (is_riff, riff),
    (_begins(b"fLaC"), flac),
    (_begins(b"OggS"), ogg),
    (_begins(W64), w64),
    (_begins(b"caff"), caf),
    (_begins(b".snd"), au),
    (_begins(b"NIST_1A"), nist),
    (is_matroska, matroska),
    (is_mov, mov),
    (is_mp3, mp3),
)
"""How a container is recognised, and what divides it."""
