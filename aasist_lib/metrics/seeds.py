"""Systems trained with several seeds: how far their mean EER, and the difference of two of them, can be trusted.

Two things leave a measured EER to chance: which trials the test set has, and how the training was seeded. A replicate draws
both: the trials of each class, the same for every system, and seeds. Seeds are few, so two corrections matter. Of n seeds n - 1
are drawn, which makes the variance of the mean right instead of too small by (n - 1) / n (Rao and Wu 1988). And an
interval alone would call three seeds of one sign a gain, as chance gives in one of four comparisons of equals: a difference
only counts as larger than the noise when the paired t-test over seeds agrees.
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
    """Mean EER of a minus that of b over paired seeds, so below 0 means that a is better; `p_value` is of the paired t-test
    over seeds, two-sided, and NaN with a single seed."""

    difference: Interval
    p_value: float
    seeds: int
    confidence: float

    @property
    def exceeds_noise(self) -> bool:
        """Whether the interval leaves out 0 and the t-test agrees at the same level. One seed never shows it."""
        apart = self.difference.low > 0 or self.difference.high < 0
        return bool(apart and self.p_value < 1 - self.confidence)


class SeedBootstrap:
    """EERs of systems over seeds, with replicates that draw trials and seeds together.

    Args:
        labels: 'bonafide' / 'spoof' or 1 / 0, (trials,).
        systems: name -> the scores of its trainings, one (trials,) a seed, in the order of `labels`. In a comparison the first
            seed of a system goes with the first of the other.
        replicates, confidence, seed: of the bootstrap.

    Raises:
        MetricError: a system without scores, unusable scores, impossible settings.
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
            raise MetricError(f"no scores of {', '.join(empty)}: pass at least one training a system")
        self.replicates, self.confidence, self.seed = replicates, confidence, seed
        ranked = {name: [_Drawn(labels, scores) for scores in trainings] for name, trainings in systems.items()}
        self.eer: dict[str, Floats] = {name: np.array([each.eer for each in trainings]) for name, trainings in ranked.items()}
        """The EERs as measured, (seeds,) of each system."""
        # plain or with unseen errors, replicate, seed
        self._samples = {name: np.empty((2, replicates, len(trainings))) for name, trainings in ranked.items()}
        bonafide, spoof = split_classes(labels, next(iter(systems.values()))[0])
        draws = _draws(np.random.default_rng(seed), replicates, bonafide.size, spoof.size, None)
        unseen = unseen_errors(replicates, bonafide.size, spoof.size, seed)
        for row, (weights, more) in enumerate(zip(draws, unseen, strict=True)):
            for name, trainings in ranked.items():
                for kind, also in enumerate(((0, 0), more)):
                    self._samples[name][kind, row] = [each.replicate(weights, also) for each in trainings]

    def mean(self, name: str) -> Interval:
        """The mean EER of a system over its seeds."""
        return self._interval(self.eer[name], *self._samples[name])

    def compare(self, a: str, b: str) -> SeedComparison:
        """The difference of two systems.

        Raises:
            MetricError: they have different numbers of seeds.
        """
        if self.eer[a].size != self.eer[b].size:
            raise MetricError(f"{a} has {self.eer[a].size} seeds and {b} {self.eer[b].size}: they cannot be paired")
        differences = self.eer[a] - self.eer[b]
        interval = self._interval(differences, *[self._samples[a][0] - self._samples[b][0]] * 2)
        return SeedComparison(interval, _t_test(differences), differences.size, self.confidence)

    def _interval(self, values: Floats, *samples: Floats) -> Interval:
        """Of the mean over seeds: `values (seeds,)`, `samples (replicates, seeds)` for the lower and for the upper end. Equal
        numbers of seeds draw the same."""
        seeds = values.size
        drawn = np.random.default_rng([self.seed, seeds]).integers(0, seeds, (self.replicates, max(seeds - 1, 1)))
        low, high = (np.take_along_axis(each, drawn, axis=1).mean(axis=1) for each in samples)
        return _interval(float(values.mean()), low, high, self.confidence)


class _Drawn:
    """One training's scores, sorted once for all replicates."""

    def __init__(self, labels: Any, scores: ArrayLike) -> None:
        classes = split_classes(labels, scores)
        self.orders = [np.argsort(part, kind="stable") for part in classes]
        ranked = rank(*classes)
        self.cuts, self.eer = _cuts(ranked.bonafide, ranked.spoof), eer_point(ranked.curve)[0]

    def replicate(self, weights: Weights, unseen: Any) -> float:
        """EER when the trials, in the order given, count `weights` times, with so much of unseen errors beside them."""
        positives, negatives = (counts[order] for counts, order in zip(weights, self.orders, strict=True))
        return _crossing(self.cuts, *_counted((positives, negatives), unseen))


def _t_test(differences: Floats) -> float:
    """p of the paired t-test; without any spread between the seeds it is 1 for no difference and 0 for any."""
    if differences.size < 2:
        return float("nan")
    if np.ptp(differences) < 1e-12:
        return float(abs(differences[0]) < 1e-12)
    return float(stats.ttest_1samp(differences, 0).pvalue)
