"""How far the numbers can be trusted: bootstrap intervals of one system, DET bands, and paired tests of two systems.

A replicate does not draw and sort scores again: it gives every trial the number of times it was drawn, and counts along
the order that was found once. Trials are drawn within their class. When speakers repeat, trials are not independent:
pass groups, and whole speakers are drawn instead, which gives the wider and honest interval.

No error seen is no certainty, but every replicate of a sample without errors has none. The upper end of a rate is therefore
that of replicates with one more trial of each class, which is wrong at every threshold; of n trials its share is drawn from
Beta(1, n). Without errors that gives the exact interval (Clopper and Pearson 1934): 0 of 60 has the upper end 5.96 %. The lower
end is that of the plain replicates, and so are both ends of a difference of two systems, which are wrong and right on the same
trials.
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
"""A trial counts as so many where fractions of a trial are added."""


@dataclass(frozen=True)
class Interval:
    """A value measured on all trials, and the interval of its replicates."""

    value: float
    low: float
    high: float

    def percent(self, digits: int = 2) -> str:
        """For tables: '4.20 % (3.10–5.30)'."""
        return f"{self.value * 100:.{digits}f} % ({self.low * 100:.{digits}f}–{self.high * 100:.{digits}f})"


@dataclass(frozen=True)
class Bootstrap:
    """Intervals of EER (fraction) and minDCF; `unit` is what was drawn, 'trial' or 'group', out of `units`."""

    eer: Interval
    min_dcf: Interval
    replicates: int
    confidence: float
    unit: str
    units: int


@dataclass(frozen=True)
class PairedBootstrap:
    """Two systems on the same trials. Differences are a - b, so below 0 means that a is better; p-values are two-sided,
    for the hypothesis of no difference."""

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
    """False rejection rates between which the replicates lie, `low` and `high`, at the rates `far`: all (points,)."""

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
    """Intervals of EER and minDCF, which hold more than the trials seen have shown (see above).

    Args:
        bonafide, spoof: scores, (trials,).
        bonafide_groups, spoof_groups: the speaker (or any other group) of each trial; both or neither. A group that is
            in both classes is drawn as one. A draw that leaves a class empty is drawn again.

    Raises:
        MetricError: unusable scores, groups that do not fit the scores or are fewer than two, impossible settings.
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
    """Compare two systems on the same trials: in each replicate both are measured on the same draw.

    Args:
        labels: 'bonafide' / 'spoof' or 1 / 0, (trials,).
        scores_a, scores_b: the systems' scores in the order of `labels`, (trials,).
        groups: the speaker of each trial, (trials,), to draw speakers instead of trials.

    Raises:
        MetricError: as `bootstrap`, or lengths that differ.
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
    """The pointwise band of a DET curve: intervals of the false rejection rate at given false acceptance rates.

    `far`, (points,), is by default 200 rates, even on a logarithmic scale, from that of a single spoof to 1. Groups and
    errors: as `bootstrap`, or rates that are not between 0 and 1.
    """
    _check(replicates, confidence)
    classes = as_scores(bonafide, "bona fide"), as_scores(spoof, "spoof")
    groups, _ = _group_numbers(bonafide_groups, spoof_groups, *(scores.size for scores in classes))
    orders = [np.argsort(scores, kind="stable") for scores in classes]
    if groups is not None:
        groups = groups[0][orders[0]], groups[1][orders[1]]
    grid = np.geomspace(1 / classes[1].size, 1, 200) if far is None else np.asarray(far, dtype=np.float64)
    if grid.ndim != 1 or not np.all((grid >= 0) & (grid <= 1)):
        raise MetricError("far has values that are no rates: pass a list of fractions between 0 and 1, not percent")
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
    """Number of spoofs before each bona fide, and before the end, (bona fide + 1,), from sorted scores.

    Only these cuts can have the least cost: between two of them, a higher threshold rejects more spoofs for nothing.
    """
    return np.append(np.searchsorted(spoof, bonafide, side="left"), spoof.size)


def unseen_errors(replicates: int, positives: int, negatives: int, seed: int) -> Counts:
    """How much one more wrong trial of each class counts in every replicate, `(replicates, 2)`, in parts of 1 / `FINE` of a
    trial: of n trials and itself its share is that of Beta(1, n), evenly spread over the replicates, so that 0 of n has Clopper
    and Pearson's upper end."""
    rng = np.random.default_rng([seed, 1])
    levels = np.stack([(rng.permutation(replicates) + 0.5) / replicates for _ in range(2)], axis=1)
    shares = 1 - (1 - levels) ** (1 / np.array([positives, negatives]))
    return np.round(FINE * np.array([positives, negatives]) * shares / (1 - shares)).astype(np.int64)


def _counted(weights: Weights, unseen: Any) -> tuple[Counts, Counts, int]:
    """Bona fide missed at each cut and in all, spoofs rejected, and the number of spoofs; `unseen` is missed and never
    rejected."""
    missed, rejected = FINE * _running(weights[0]) + unseen[0], FINE * _running(weights[1])
    return missed, rejected, int(rejected[-1]) + int(unseen[1])


def _replicate(
    cuts: NDArray[np.intp], weights: Weights, costs: tuple[float, float, float], unseen: Any = (0, 0)
) -> tuple[float, float]:
    """EER and minDCF when the trials, in order of score, count `weights` times, with so much of unseen errors beside them."""
    if any(unseen):
        missed, rejected, negatives = _counted(weights, unseen)
    else:
        missed, rejected = _running(weights[0]), _running(weights[1])
        negatives = int(rejected[-1])
    frr = missed / missed[-1]
    far = (negatives - rejected[cuts]) / negatives
    cost = min(1.0, float(np.min(weighted(frr, far, *costs))))  # deciding without listening costs 1, whatever is unseen
    return _crossing(cuts, missed, rejected, negatives), cost


def _crossing(cuts: NDArray[np.intp], missed: Counts, rejected: Counts, negatives: int) -> float:
    """EER from counts along the order: the two points around frr = far, in exact integers, and the closer of them.

    Up to the first cut with frr >= far the order takes the copies of one bona fide, one by one, then those of spoofs.
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
    """How many times each bona fide and each spoof trial is drawn, `replicates` times."""
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
    raise MetricError(f"{MOST_REDRAWS} draws of {size} groups held no trial of one class: draw trials, not groups")


def _running(weights: Counts) -> Counts:
    """Running totals that start at 0, (trials + 1,)."""
    total = np.zeros(weights.size + 1, dtype=np.int64)
    np.cumsum(weights, out=total[1:])
    return total


def _group_numbers(
    bonafide: ArrayLike | None, spoof: ArrayLike | None, positives: int, negatives: int
) -> tuple[Weights | None, int]:
    """Groups as numbers from 0, shared by the classes, and how many units a replicate draws."""
    if bonafide is None and spoof is None:
        return None, positives + negatives
    if bonafide is None or spoof is None:
        raise MetricError("groups are given for one class only: pass bonafide_groups and spoof_groups, or neither")
    names = np.asarray(bonafide, dtype=object), np.asarray(spoof, dtype=object)
    for name, given, size in zip(("bonafide_groups", "spoof_groups"), names, (positives, negatives), strict=True):
        if given.shape != (size,):
            raise MetricError(f"{name} has shape {given.shape} for {size} scores: pass one group a score")
    unique, numbers = np.unique(np.concatenate(names).astype(str), return_inverse=True)
    if unique.size < 2:
        raise MetricError(f"every trial is in group '{unique[0]}': drawing groups needs two; draw trials instead")
    return (numbers[:positives], numbers[positives:]), unique.size


def _split_groups(labels: Any, groups: ArrayLike) -> tuple[NDArray[Any], NDArray[Any]]:
    mask, given = bonafide_mask(labels), np.asarray(groups, dtype=object)
    if given.shape != mask.shape:
        raise MetricError(f"groups has shape {given.shape} for {mask.size} labels: pass one group a trial")
    return given[mask], given[~mask]


def _interval(value: float, plain: Floats, widened: Floats, confidence: float) -> Interval:
    """The lower end of the plain replicates and the upper end of those with unseen errors."""
    low, high = _tails(confidence)
    return Interval(float(value), float(np.quantile(plain, low)), float(np.quantile(widened, high)))


def _both(samples: Floats) -> tuple[Floats, Floats]:
    """The plain and the widened replicates of `(replicates, 2)`."""
    return samples[:, 0], samples[:, 1]


def _p_value(differences: Floats) -> float:
    tail = min(np.count_nonzero(differences <= 0), np.count_nonzero(differences >= 0))
    return float(min(1.0, 2 * (tail + 1) / (differences.size + 1)))


def _tails(confidence: float) -> list[float]:
    return [(1 - confidence) / 2, (1 + confidence) / 2]


def _check(replicates: int, confidence: float) -> None:
    if replicates < 1:
        raise MetricError(f"replicates = {replicates}: at least 1, and 1000 for a stable interval")
    if not 0 < confidence < 1:
        raise MetricError(f"confidence = {confidence}: a fraction between 0 and 1, such as 0.95")
