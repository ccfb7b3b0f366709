"""A wave of any length, cut into windows of the length that a model takes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from aasist_lib.audio import io as audio


def windows(blocks: Iterable[NDArray[np.float32]], length: int, hop: int) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Windows of a wave that comes in blocks `(samples,)`: the first sample of each, and the window `(length,)`.

    They begin `hop` samples after one another; one more ends with the wave where the last of these does not. A wave that is
    shorter than a window is repeated, as `audio.fit` does. No more than a window and a block are held.
    """
    held, first, start = np.zeros(0, np.float32), 0, 0
    for block in blocks:
        held = np.concatenate((held, block))
        end = first + len(held)
        while start + length <= end:
            yield start, held[start - first : start - first + length]
            start += hop
        surplus = max(0, min(start, end - length) - first)
        held, first = held[surplus:], first + surplus
    end = first + len(held)
    if end < length:
        yield 0, audio.fit(held, length)
    elif start - hop + length < end:
        yield end - length, held[-length:]
