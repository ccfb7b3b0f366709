"""Cut a wave of any length into windows of a model's input length."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from aasist_lib.audio import io as audio


def windows(blocks: Iterable[NDArray[np.float32]], length: int, hop: int) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Windows of a wave given in blocks `(samples,)`: the first sample and the window `(length,)` of each.

    Windows start every `hop` samples; a last window ends with the wave. A wave that is shorter than a window is repeated, as by
    `audio.fit`. At most one window and one block are in memory.
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
