"""Uncertainty of systems trained with several seeds: intervals of their mean EER and of the difference of two systems.

A measured EER depends on two random factors: the trials in the test set and the training seed. A replicate draws both: trials
within each class, the same for all systems, and seeds. Because there are few seeds, two corrections are needed:

- Of n seeds, n - 1 are drawn. The variance of the mean is then correct instead of too small by (n - 1) / n (Rao and Wu 1988).
- With three seeds, the differences have the same sign by chance in one of four comparisons of equal systems. An interval alone
  would report this as a gain. A difference therefore exceeds the noise only if the paired t-test over seeds agrees.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from .intervals import Interval, Weights, _check, _counted, _crossing, _cuts, _draws, _interval, unseen_errors
from .rates import Floats, MetricError, eer_point, rank, split_classes


@dataclass(frozen=True)
class SeedComparison:
    """Mean EER of a minus that of b over paired seeds; below 0 means that a is better.

    `p_value` is that of the two-sided paired t-test over seeds, or NaN with a single seed.
    """

    difference: Interval
    p_value: float
    seeds: int
    confidence: float

    @property
    def exceeds_noise(self) -> bool:
        """Whether the interval excludes 0 and the t-test agrees at the same level; always False with a single seed."""
        apart = self.difference.low > 0 or self.difference.high < 0
        return bool(apart and self.p_value < 1 - self.confidence)


class SeedBootstrap:
    """EERs of systems over seeds, with bootstrap replicates that draw both trials and seeds.

    Args:
        labels: 'bonafide' / 'spoof' or 1 / 0, (trials,).
        systems: name -> scores of its training runs, one array (trials,) per seed, in the order of `labels`. Comparisons pair
            the seeds of two systems by position.
        replicates, confidence, seed: number of replicates, confidence level, and random seed of the bootstrap.

    Raises:
        MetricError: a system has no scores, or scores or settings are not valid.
    """

    def __init__(
        self,
        labels: Any,
        systems: Mapping[str, Sequence[ArrayLike]],
        replicates: int = 1000,
        confidence: float = 0.95,
        seed: int = 0,
    ) -> None:
        _check(replicates, confidence)
        if empty := [name for name, scores in systems.items() if not len(scores)]:
            raise MetricError(f"no scores of {', '.join(empty)}: pass at least one training run per system")
        self.replicates, self.confidence, self.seed = replicates, confidence, seed
        ranked = {name: [_Drawn(labels, scores) for scores in trainings] for name, trainings in systems.items()}
        self.eer: dict[str, Floats] = {name: np.array([each.eer for each in trainings]) for name, trainings in ranked.items()}
        """Measured EERs of each system, (seeds,)."""
        # axes: plain or with unseen errors, replicate, seed
        self._samples = {name: np.empty((2, replicates, len(trainings))) for name, trainings in ranked.items()}
        bonafide, spoof = split_classes(labels, next(iter(systems.values()))[0])
        draws = _draws(np.random.default_rng(seed), replicates, bonafide.size, spoof.size, None)
        unseen = unseen_errors(replicates, bonafide.size, spoof.size, seed)
        for row, (weights, more) in enumerate(zip(draws, unseen, strict=True)):
            for name, trainings in ranked.items():
                for kind, also in enumerate(((0, 0), more)):
                    self._samples[name][kind, row] = [each.replicate(weights, also) for each in trainings]

    def mean(self, name: str) -> Interval:
        """Return a system's mean EER over its seeds, with its interval."""
        return self._interval(self.eer[name], *self._samples[name])

    def compare(self, a: str, b: str) -> SeedComparison:
        """Compare two systems by the difference of their mean EERs.

        Raises:
            MetricError: the systems have different numbers of seeds.
        """
        if self.eer[a].size != self.eer[b].size:
            raise MetricError(f"{a} has {self.eer[a].size} seeds and {b} {self.eer[b].size}: pass equal numbers of seeds")
        differences = self.eer[a] - self.eer[b]
        interval = self._interval(differences, *[self._samples[a][0] - self._samples[b][0]] * 2)
        return SeedComparison(interval, _t_test(differences), differences.size, self.confidence)

    def _interval(self, values: Floats, *samples: Floats) -> Interval:
        """Return the mean over seeds of `values (seeds,)` with its interval.

        `samples` are two arrays `(replicates, seeds)`, for the lower and the upper end. Systems with the same number of seeds
        get the same draws of seeds.
        """
        seeds = values.size
        drawn = np.random.default_rng([self.seed, seeds]).integers(0, seeds, (self.replicates, max(seeds - 1, 1)))
        low, high = (np.take_along_axis(each, drawn, axis=1).mean(axis=1) for each in samples)
        return _interval(float(values.mean()), low, high, self.confidence)


class _Drawn:
    """Scores of one training run, sorted once for all replicates."""

    def __init__(self, labels: Any, scores: ArrayLike) -> None:
        classes = split_classes(labels, scores)
        self.orders = [np.argsort(part, kind="stable") for part in classes]
        ranked = rank(*classes)
        self.cuts, self.eer = _cuts(ranked.bonafide, ranked.spoof), eer_point(ranked.curve)[0]

    def replicate(self, weights: Weights, unseen: Any) -> float:
        """Compute the EER for trials, in their original order, with the given `weights`; `unseen` adds errors."""
        positives, negatives = (counts[order] for counts, order in zip(weights, self.orders, strict=True))
        return _crossing(self.cuts, *_counted((positives, negatives), unseen))


def _t_test(differences: Floats) -> float:
    """Return the p-value of the paired t-test. If all differences are equal: 1 if they are zero, otherwise 0."""
    if differences.size < 2:
        return float("nan")
    if np.ptp(differences) < 1e-12:
        return float(abs(differences[0]) < 1e-12)
    return float(stats.ttest_1samp(differences, 0).pvalue)
