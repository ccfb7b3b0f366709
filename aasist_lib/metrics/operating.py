"""What a threshold that was chosen beforehand does: the operating point, as a user of a detector meets it.

An EER on eval belongs to a threshold that only eval's labels can find. A detector is used at one from dev; beside every EER
therefore stands what that gives.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import binomtest

from .intervals import Interval
from .rates import MetricError, as_scores


@dataclass(frozen=True)
class OperatingPoint:
    """False rejection rate of bona fide trials and false acceptance rate of spoofs at a threshold, at or below which a trial is
    taken for spoof; fractions, with exact intervals (Clopper and Pearson 1934). None of a class without trials."""

    threshold: float
    frr: Interval | None
    far: Interval | None

    @property
    def hter(self) -> float | None:
        """Half total error rate, the mean of the two; None where a class has no trials."""
        return None if self.frr is None or self.far is None else (self.frr.value + self.far.value) / 2

    def rates(self) -> tuple[float, float, float]:
        """FRR, FAR and HTER as plain numbers, NaN where a class is missing."""
        of = [np.nan if rate is None else rate.value for rate in (self.frr, self.far)]
        return of[0], of[1], np.nan if self.hter is None else self.hter


def operating_point(bonafide: ArrayLike, spoof: ArrayLike, threshold: float, confidence: float = 0.95) -> OperatingPoint:
    """Both error rates at a threshold.

    Args:
        bonafide, spoof: scores, (trials,); one of them may be empty.
        threshold: of dev, such as `eer(...)[1]`.

    Raises:
        MetricError: both classes are empty, scores or the threshold are no finite numbers.
    """
    threshold = float(as_scores([threshold], "threshold")[0])
    classes = [np.asarray(scores, dtype=np.float64) for scores in (bonafide, spoof)]
    if not any(scores.size for scores in classes):
        raise MetricError("there are no scores: an operating point needs at least one class")
    positive, negative = (
        as_scores(scores, name) if scores.size else None for scores, name in zip(classes, ("bona fide", "spoof"), strict=True)
    )
    return OperatingPoint(
        threshold,
        None if positive is None else exact_rate(int(np.count_nonzero(positive <= threshold)), positive.size, confidence),
        None if negative is None else exact_rate(int(np.count_nonzero(negative > threshold)), negative.size, confidence),
    )


def exact_rate(errors: int, trials: int, confidence: float = 0.95) -> Interval:
    """The rate `errors` of `trials` with its exact interval, whose upper end is above 0 where no error was seen."""
    found = binomtest(errors, trials).proportion_ci(confidence, method="exact")
    return Interval(errors / trials, float(found.low), float(found.high))
