"""The check of an exercise's answer.

An exercise is a cell tagged `exercise`, where the reader writes an answer, a cell that checks it, and a solution: a cell tagged
`solution`, folded in JupyterLab. Solutions run with the notebook, so they are tested headless; `make student` leaves them out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

Answer = TypeVar("Answer")


def check(answer: Answer | None, right: Callable[[Answer], object]) -> None:
    """Print 'right' or 'not yet'.

    Args:
        answer: None until the exercise is begun.
        right: whether an answer is right; not called with None.
    """
    print("right" if answer is not None and right(answer) else "not yet")
