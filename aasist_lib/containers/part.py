"""What a file is divided into, and what may be wrong with it."""

from __future__ import annotations

import mmap
from dataclasses import dataclass

Bytes = mmap.mmap | bytes


class AudioError(ValueError):
    """A file that cannot be used as audio; the message names it and says why."""


class Damaged(Exception):
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


SLACK = 16
"""So few bytes behind the last chunk of a file are padding."""
