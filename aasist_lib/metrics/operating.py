"""Error rates at a threshold that was chosen beforehand: the operating point of a deployed detector.

The threshold of an eval EER can only be found with eval's labels. In use, the threshold comes from dev. Therefore the error
rates at the dev threshold are reported next to every EER.
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
    """False rejection rate (bona fide) and false acceptance rate (spoof) at a threshold, as fractions with exact intervals.

    Trials with scores at or below the threshold are classified as spoof. Intervals: Clopper and Pearson 1934. A class without
    trials has the rate None.
    """

    threshold: float
    frr: Interval | None
    far: Interval | None

    @property
    def hter(self) -> float | None:
        """Half total error rate, the mean of FRR and FAR; None if a class has no trials."""
        return None if self.frr is None or self.far is None else (self.frr.value + self.far.value) / 2

    def rates(self) -> tuple[float, float, float]:
        """Return FRR, FAR and HTER as plain numbers; a rate is NaN if its class has no trials."""
        of = [np.nan if rate is None else rate.value for rate in (self.frr, self.far)]
        return of[0], of[1], np.nan if self.hter is None else self.hter


def operating_point(bonafide: ArrayLike, spoof: ArrayLike, threshold: float, confidence: float = 0.95) -> OperatingPoint:
    """Compute both error rates at a threshold.

    Args:
        bonafide, spoof: scores, (trials,); one of them may be empty.
        threshold: a threshold chosen on dev, such as `eer(...)[1]`.
        confidence: confidence level of the intervals.

    Raises:
        MetricError: both classes are empty, or a score or the threshold is not a finite number.
    """
    threshold = float(as_scores([threshold], "threshold")[0])
    classes = [np.asarray(scores, dtype=np.float64) for scores in (bonafide, spoof)]
    if not any(scores.size for scores in classes):
        raise MetricError("there are no scores: pass scores of at least one class")
    positive, negative = (
        as_scores(scores, name) if scores.size else None for scores, name in zip(classes, ("bona fide", "spoof"), strict=True)
    )
    return OperatingPoint(
        threshold,
        None if positive is None else exact_rate(int(np.count_nonzero(positive <= threshold)), positive.size, confidence),
        None if negative is None else exact_rate(int(np.count_nonzero(negative > threshold)), negative.size, confidence),
    )


def exact_rate(errors: int, trials: int, confidence: float = 0.95) -> Interval:
    """Return the rate `errors` / `trials` with its exact interval; the upper end is above 0 even without errors."""
    found = binomtest(errors, trials).proportion_ci(confidence, method="exact")
    return Interval(errors / trials, float(found.low), float(found.high))
