"""Statistical uncertainty: bootstrap intervals of one system, DET bands, and paired tests of two systems.

A replicate does not sort scores again. It weights each trial by the number of times it was drawn, and accumulates the weights
in an order that is computed once. Trials are drawn within their class. If speakers repeat, trials are not independent: pass
groups to draw whole speakers instead, which gives a wider, more realistic interval.

A sample without errors gives only replicates without errors, although zero observed errors do not prove a zero error rate. The
upper end of a rate's interval therefore comes from replicates with one additional trial in each class that is wrong at every
threshold. For n trials, its share of the weight is drawn from Beta(1, n). For a sample without errors this gives the exact
interval (Clopper and Pearson 1934): 0 of 60 has the upper end 5.96 %. The lower end comes from the plain replicates. So do both
ends of a difference of two systems, because both are evaluated on the same trials.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .costs import dcf_minimum, weighted
from .rates import Floats, MetricError, as_scores, bonafide_mask, eer_point, rank, split_classes

Counts = NDArray[np.int64]
Weights = tuple[Counts, Counts]
MOST_REDRAWS = 1000
FINE = 1 << 10
"""Integer weight of one trial where fractions of a trial are added."""


@dataclass(frozen=True)
class Interval:
    """A value measured on all trials, and the bootstrap interval from its replicates."""

    value: float
    low: float
    high: float

    def percent(self, digits: int = 2) -> str:
        """Format as percent for tables: '4.20 % (3.10–5.30)'."""
        return f"{self.value * 100:.{digits}f} % ({self.low * 100:.{digits}f}–{self.high * 100:.{digits}f})"


@dataclass(frozen=True)
class Bootstrap:
    """Intervals of EER (fraction) and minDCF; `unit` is the unit drawn, 'trial' or 'group', and `units` their number."""

    eer: Interval
    min_dcf: Interval
    replicates: int
    confidence: float
    unit: str
    units: int


@dataclass(frozen=True)
class PairedBootstrap:
    """Comparison of two systems on the same trials.

    Differences are a - b, so a value below 0 means that a is better. p-values are two-sided; the null hypothesis is that there
    is no difference.
    """

    eer_a: Interval
    eer_b: Interval
    eer_difference: Interval
    eer_p_value: float
    min_dcf_a: Interval
    min_dcf_b: Interval
    min_dcf_difference: Interval
    min_dcf_p_value: float
    replicates: int
    confidence: float
    unit: str
    units: int


@dataclass(frozen=True)
class DetBand:
    """Interval `low` to `high` of the false rejection rate at the false acceptance rates `far`; all (points,)."""

    far: Floats
    low: Floats
    high: Floats


def bootstrap(
    bonafide: ArrayLike,
    spoof: ArrayLike,
    replicates: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
    bonafide_groups: ArrayLike | None = None,
    spoof_groups: ArrayLike | None = None,
    *,
    p_spoof: float = 0.05,
    c_miss: float = 1.0,
    c_fa: float = 10.0,
) -> Bootstrap:
    """Compute intervals of EER and minDCF, which allow for errors that the sample does not show (see the module's docstring).

    Args:
        bonafide, spoof: scores, (trials,).
        replicates, confidence, seed: number of replicates, confidence level of the intervals, and random seed.
        bonafide_groups, spoof_groups: the speaker (or any other group) of each trial; both or neither. A group that occurs in
            both classes is drawn as one unit. A draw that leaves a class empty is repeated.
        p_spoof, c_miss, c_fa: spoof prior and costs of the minDCF.

    Raises:
        MetricError: scores or settings are not valid, there are fewer than two groups, or groups do not match the scores.
    """
    _check(replicates, confidence)
    classes = as_scores(bonafide, "bona fide"), as_scores(spoof, "spoof")
    groups, units = _group_numbers(bonafide_groups, spoof_groups, *(scores.size for scores in classes))
    orders = [np.argsort(scores, kind="stable") for scores in classes]
    ranked = rank(*classes)
    cuts = _cuts(ranked.bonafide, ranked.spoof)
    if groups is not None:
        groups = groups[0][orders[0]], groups[1][orders[1]]
    sizes = classes[0].size, classes[1].size
    draws = _draws(np.random.default_rng(seed), replicates, *sizes, groups)
    unseen = unseen_errors(replicates, *sizes, seed)
    costs = p_spoof, c_miss, c_fa
    found = eer_point(ranked.curve)[0], dcf_minimum(ranked.curve, *costs)
    samples = np.array(
        [
            [_replicate(cuts, weights, costs), _replicate(cuts, weights, costs, more)]
            for weights, more in zip(draws, unseen, strict=True)
        ]
    )  # replicate, plain or with unseen errors, metric
    rate, dcf = (_interval(value, *_both(samples[:, :, metric]), confidence) for metric, value in enumerate(found))
    return Bootstrap(rate, dcf, replicates, confidence, "trial" if groups is None else "group", units)


def paired_bootstrap(
    labels: Any,
    scores_a: ArrayLike,
    scores_b: ArrayLike,
    groups: ArrayLike | None = None,
    replicates: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
    *,
    p_spoof: float = 0.05,
    c_miss: float = 1.0,
    c_fa: float = 10.0,
) -> PairedBootstrap:
    """Compare two systems on the same trials. In each replicate both systems are evaluated on the same draw.

    Args:
        labels: 'bonafide' / 'spoof' or 1 / 0, (trials,).
        scores_a, scores_b: the systems' scores in the order of `labels`, (trials,).
        groups: the speaker of each trial, (trials,), to draw speakers instead of trials.

    Raises:
        MetricError: as for `bootstrap`, or the lengths differ.
    """
    _check(replicates, confidence)
    systems = [split_classes(labels, scores) for scores in (scores_a, scores_b)]
    positives, negatives = (scores.size for scores in systems[0])
    of_bonafide, of_spoof = (None, None) if groups is None else _split_groups(labels, groups)
    numbers, units = _group_numbers(of_bonafide, of_spoof, positives, negatives)
    orders = [[np.argsort(scores, kind="stable") for scores in system] for system in systems]
    ranked = [rank(*system) for system in systems]
    cuts = [_cuts(each.bonafide, each.spoof) for each in ranked]
    costs = p_spoof, c_miss, c_fa
    found = np.array([[eer_point(each.curve)[0], dcf_minimum(each.curve, *costs)] for each in ranked])
    samples = np.empty((replicates, 2, 2, 2))  # replicate, system, plain or with unseen errors, metric
    draws = _draws(np.random.default_rng(seed), replicates, positives, negatives, numbers)
    for row, (weights, more) in enumerate(zip(draws, unseen_errors(replicates, positives, negatives, seed), strict=True)):
        for system in range(2):
            sorted_weights = weights[0][orders[system][0]], weights[1][orders[system][1]]
            samples[row, system] = [_replicate(cuts[system], sorted_weights, costs, also) for also in ((0, 0), more)]
    results: list[tuple[Interval, Interval, Interval, float]] = []
    for metric in range(2):
        of_a, of_b = (
            _interval(found[system, metric], *_both(samples[:, system, :, metric]), confidence) for system in range(2)
        )
        apart = samples[:, 0, 0, metric] - samples[:, 1, 0, metric]
        difference = _interval(found[0, metric] - found[1, metric], apart, apart, confidence)
        results.append((of_a, of_b, difference, _p_value(apart)))
    drawn = "trial" if numbers is None else "group"
    return PairedBootstrap(*results[0], *results[1], replicates, confidence, drawn, units)


def det_band(
    bonafide: ArrayLike,
    spoof: ArrayLike,
    far: ArrayLike | None = None,
    replicates: int = 200,
    confidence: float = 0.95,
    seed: int = 0,
    bonafide_groups: ArrayLike | None = None,
    spoof_groups: ArrayLike | None = None,
) -> DetBand:
    """Compute the pointwise band of a DET curve: intervals of the false rejection rate at given false acceptance rates.

    Args:
        bonafide, spoof: scores, (trials,).
        far: false acceptance rates, (points,); by default 200 logarithmically spaced rates from 1 / spoof trials to 1.
        replicates, confidence, seed, bonafide_groups, spoof_groups: as for `bootstrap`.

    Raises:
        MetricError: as for `bootstrap`, or a rate is not between 0 and 1.
    """
    _check(replicates, confidence)
    classes = as_scores(bonafide, "bona fide"), as_scores(spoof, "spoof")
    groups, _ = _group_numbers(bonafide_groups, spoof_groups, *(scores.size for scores in classes))
    orders = [np.argsort(scores, kind="stable") for scores in classes]
    if groups is not None:
        groups = groups[0][orders[0]], groups[1][orders[1]]
    grid = np.geomspace(1 / classes[1].size, 1, 200) if far is None else np.asarray(far, dtype=np.float64)
    if grid.ndim != 1 or not np.all((grid >= 0) & (grid <= 1)):
        raise MetricError("far has values outside [0, 1]: pass a list of fractions, not percent")
    cuts = _cuts(*(scores[order] for scores, order in zip(classes, orders, strict=True)))
    curves = np.empty((2, replicates, grid.size))
    sizes = classes[0].size, classes[1].size
    draws = _draws(np.random.default_rng(seed), replicates, *sizes, groups)
    for row, (weights, more) in enumerate(zip(draws, unseen_errors(replicates, *sizes, seed), strict=True)):
        for kind, also in enumerate(((0, 0), more)):
            missed, rejected, negatives = _counted(weights, also)
            first = np.searchsorted(rejected[cuts], negatives * (1 - grid) - 1e-9)
            curves[kind, row] = missed[np.minimum(first, cuts.size - 1)] / missed[-1]
    ends = _tails(confidence)
    return DetBand(grid, *(np.quantile(curve, end, axis=0) for curve, end in zip(curves, ends, strict=True)))


def _cuts(bonafide: Floats, spoof: Floats) -> NDArray[np.intp]:
    """Return the number of spoofs below each bona fide score, and the number of all spoofs: (bona fide + 1,); sorted scores.

    Only these cuts can have the lowest cost: between two of them, a higher threshold rejects more spoofs at no extra cost.
    """
    return np.append(np.searchsorted(spoof, bonafide, side="left"), spoof.size)


def unseen_errors(replicates: int, positives: int, negatives: int, seed: int) -> Counts:
    """Draw the weights of one additional wrong trial per class and replicate, `(replicates, 2)`, in units of 1 / `FINE` trial.

    The additional trial's share of the total weight follows Beta(1, n), sampled at evenly spaced quantiles over the replicates.
    As a result, 0 errors in n trials have Clopper and Pearson's upper end.
    """
    rng = np.random.default_rng([seed, 1])
    levels = np.stack([(rng.permutation(replicates) + 0.5) / replicates for _ in range(2)], axis=1)
    shares = 1 - (1 - levels) ** (1 / np.array([positives, negatives]))
    return np.round(FINE * np.array([positives, negatives]) * shares / (1 - shares)).astype(np.int64)


def _counted(weights: Weights, unseen: Any) -> tuple[Counts, Counts, int]:
    """Return running totals of missed bona fide and of rejected spoofs, and the number of spoofs, in units of 1 / `FINE` trial.

    The additional `unseen` bona fide trial is always missed, and the additional spoof trial is never rejected.
    """
    missed, rejected = FINE * _running(weights[0]) + unseen[0], FINE * _running(weights[1])
    return missed, rejected, int(rejected[-1]) + int(unseen[1])


def _replicate(
    cuts: NDArray[np.intp], weights: Weights, costs: tuple[float, float, float], unseen: Any = (0, 0)
) -> tuple[float, float]:
    """Compute EER and minDCF for trials, sorted by score, with the given `weights`; `unseen` adds errors, see `_counted`."""
    if any(unseen):
        missed, rejected, negatives = _counted(weights, unseen)
    else:
        missed, rejected = _running(weights[0]), _running(weights[1])
        negatives = int(rejected[-1])
    frr = missed / missed[-1]
    far = (negatives - rejected[cuts]) / negatives
    cost = min(1.0, float(np.min(weighted(frr, far, *costs))))  # a constant decision costs at most 1
    return _crossing(cuts, missed, rejected, negatives), cost


def _crossing(cuts: NDArray[np.intp], missed: Counts, rejected: Counts, negatives: int) -> float:
    """Compute the EER from running totals: find the two points around frr = far in exact integers, and use the closer one.

    Just before the first cut with frr >= far, the curve steps through the copies of one bona fide trial, then through those of
    the spoofs up to that cut.
    """
    positives = int(missed[-1])
    even = positives * negatives
    cut = int(np.searchsorted(missed * negatives + rejected[cuts] * positives, even))
    misses, rejections = int(missed[cut]), int(rejected[cuts[cut - 1]]) if cut else 0
    if misses * negatives + rejections * positives >= even:
        misses = -(-(even - rejections * positives) // negatives)  # rounded up
        around = [(misses - 1, rejections), (misses, rejections)]
    else:
        rejections = -(-(even - misses * negatives) // positives)
        around = [(misses, rejections - 1), (misses, rejections)]
    rates = [(miss * negatives, (negatives - rejection) * positives) for miss, rejection in around]
    frr, far = min(rates, key=lambda pair: abs(pair[0] - pair[1]))
    return (frr + far) / (2 * even)


def _draws(
    rng: np.random.Generator, replicates: int, positives: int, negatives: int, groups: Weights | None
) -> Iterator[Weights]:
    """Yield, for each replicate, how many times each bona fide trial and each spoof trial is drawn."""
    for _ in range(replicates):
        if groups is None:
            yield _multinomial(rng, positives), _multinomial(rng, negatives)
        else:
            yield _draw_groups(rng, *groups)


def _multinomial(rng: np.random.Generator, size: int) -> Counts:
    return np.bincount(rng.integers(0, size, size, dtype=np.uint32), minlength=size)


def _draw_groups(rng: np.random.Generator, bonafide: Counts, spoof: Counts) -> Weights:
    size = int(max(bonafide.max(), spoof.max())) + 1
    for _ in range(MOST_REDRAWS):
        drawn = _multinomial(rng, size)
        weights = drawn[bonafide], drawn[spoof]
        if weights[0].any() and weights[1].any():
            return weights
    raise MetricError(f"{MOST_REDRAWS} draws of {size} groups each left one class empty: draw trials instead of groups")


def _running(weights: Counts) -> Counts:
    """Return running totals that start at 0, (trials + 1,)."""
    total = np.zeros(weights.size + 1, dtype=np.int64)
    np.cumsum(weights, out=total[1:])
    return total


def _group_numbers(
    bonafide: ArrayLike | None, spoof: ArrayLike | None, positives: int, negatives: int
) -> tuple[Weights | None, int]:
    """Convert groups to numbers from 0, shared by both classes; also return the number of units that a replicate draws."""
    if bonafide is None and spoof is None:
        return None, positives + negatives
    if bonafide is None or spoof is None:
        raise MetricError("groups are given for one class only: pass bonafide_groups and spoof_groups, or neither")
    names = np.asarray(bonafide, dtype=object), np.asarray(spoof, dtype=object)
    for name, given, size in zip(("bonafide_groups", "spoof_groups"), names, (positives, negatives), strict=True):
        if given.shape != (size,):
            raise MetricError(f"{name} has shape {given.shape} for {size} scores: pass one group per score")
    unique, numbers = np.unique(np.concatenate(names).astype(str), return_inverse=True)
    if unique.size < 2:
        raise MetricError(f"all trials are in group '{unique[0]}', but at least two groups are needed: draw trials instead")
    return (numbers[:positives], numbers[positives:]), unique.size


def _split_groups(labels: Any, groups: ArrayLike) -> tuple[NDArray[Any], NDArray[Any]]:
    mask, given = bonafide_mask(labels), np.asarray(groups, dtype=object)
    if given.shape != mask.shape:
        raise MetricError(f"groups has shape {given.shape} for {mask.size} labels: pass one group per trial")
    return given[mask], given[~mask]


def _interval(value: float, plain: Floats, widened: Floats, confidence: float) -> Interval:
    """Return the interval from the lower end of the plain replicates to the upper end of those with unseen errors."""
    low, high = _tails(confidence)
    return Interval(float(value), float(np.quantile(plain, low)), float(np.quantile(widened, high)))


def _both(samples: Floats) -> tuple[Floats, Floats]:
    """Split `(replicates, 2)` into the plain replicates and those with unseen errors."""
    return samples[:, 0], samples[:, 1]


def _p_value(differences: Floats) -> float:
    tail = min(np.count_nonzero(differences <= 0), np.count_nonzero(differences >= 0))
    return float(min(1.0, 2 * (tail + 1) / (differences.size + 1)))


def _tails(confidence: float) -> list[float]:
    return [(1 - confidence) / 2, (1 + confidence) / 2]


def _check(replicates: int, confidence: float) -> None:
    if replicates < 1:
        raise MetricError(f"replicates = {replicates}: must be at least 1; use 1000 for a stable interval")
    if not 0 < confidence < 1:
        raise MetricError(f"confidence = {confidence}: must be between 0 and 1, such as 0.95")
