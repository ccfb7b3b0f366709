"""What a file is divided into, and what may be wrong with it."""

from __future__ import annotations

import mmap
import re
from dataclasses import dataclass

from aasist_lib.errors import AasistError

Bytes = mmap.mmap | bytes


class AudioError(AasistError, ValueError):
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
LARGEST_REST = 4096
"""So few bytes behind the last frame may be a part of one more, or a tag of a kind not known here."""
_BEGINNINGS = re.compile(
    rb"fLaC|OggS|caff|\.snd|NIST_1A|ID3[\2-\4]|RIFF....WAVE|RF64....WAVE|FORM....AIF|riff\x2e\x91\xcf\x11|\x1aE\xdf\xa3|....ftyp",
    re.DOTALL,
)
"""How audio files begin whose first bytes tell their format."""


def refuse_another(content: Bytes, at: int) -> None:
    """Raise `Damaged` where a file of another format begins at a byte: what follows is not read."""
    if _BEGINNINGS.match(content, at):
        raise Damaged(f"a file of another format is appended at byte {at}: split the file there")


def refuse_cut(told: int, there: int, slack: int = 0) -> None:
    """Raise `Damaged` where a header tells of more bytes of samples than there are."""
    if told > there + slack:
        raise Damaged(
            f"cut off or damaged: the header declares {told} bytes, but only {there} follow: download or export the file again"
        )


def refuse_rest(content: Bytes, at: int, what: str, most: int = LARGEST_REST) -> None:
    """Raise `Damaged` where more follows byte `at`, behind `what`, than `most` bytes or padding."""
    refuse_another(content, at)
    behind = len(content) - at
    if behind > most and content[at:].strip(b"\0"):
        raise Damaged(f"{behind} unrecognised bytes follow {what}: export the file again")
