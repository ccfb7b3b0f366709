"""Error rates from sorted scores: the DET curve, the EER, and the error rates of a speaker verifier.

As in the ASVspoof organisers' code, trials are sorted by score, with bona fide before spoof at equal scores. Each score is
used as a threshold; trials at or below it are rejected.
"""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from aasist_lib.errors import AasistError

Floats = NDArray[np.float64]


class MetricError(AasistError, ValueError):
    """The metric cannot be computed from these scores, labels or costs; the message says how to fix it."""


class ScoreWarning(UserWarning):
    """A property of the scores that affects how to interpret the result, such as ties at the threshold."""


class DetCurve(NamedTuple):
    """Operating points of all thresholds, as arrays (trials + 1,): one below the first score, then one at each score.

    `frr` and `far` are fractions.
    """

    frr: Floats
    far: Floats
    thresholds: Floats


class AsvRates(NamedTuple):
    """Error rates (fractions) of a speaker verifier that accepts scores >= `threshold`; `eer` ignores spoofs."""

    pfa: float
    pmiss: float
    pmiss_spoof: float
    pfa_spoof: float
    eer: float
    threshold: float


class Ranked(NamedTuple):
    """Sorted scores of both classes, (bona fide,) and (spoof,), and their DET curve: the input of all metrics."""

    bonafide: Floats
    spoof: Floats
    curve: DetCurve


def as_scores(values: ArrayLike, name: str) -> Floats:
    """Return `values` as a float64 vector of finite scores; `name` ('bona fide', 'target', …) is used in error messages.

    Raises:
        MetricError: the values are not numbers, not one-dimensional, empty, NaN or infinite.
    """
    try:
        scores = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise MetricError(f"{name} scores are not numbers ({error}): pass a one-dimensional array of floats") from error
    if scores.ndim != 1:
        raise MetricError(f"{name} scores have shape {scores.shape}: pass one score per trial, shape (trials,)")
    if not scores.size:
        raise MetricError(f"there are no {name} scores: error rates need all classes; check the labels and filters")
    bad = ~np.isfinite(scores)
    if bad.any():
        raise MetricError(
            f"{int(bad.sum())} of {scores.size} {name} scores are NaN or infinite (the first at index "
            f"{int(bad.argmax())}): score these clips again, or remove them deliberately"
        )
    return scores


def rank(bonafide: ArrayLike, spoof: ArrayLike, names: tuple[str, str] = ("bona fide", "spoof")) -> Ranked:
    """Check the scores, sort each class, and merge both into a DET curve, with bona fide first at equal scores."""
    positive, negative = np.sort(as_scores(bonafide, names[0])), np.sort(as_scores(spoof, names[1]))
    return Ranked(positive, negative, _merge(positive, np.searchsorted(negative, positive, side="left"), negative))


def _merge(positive: Floats, passed: NDArray[np.intp], negative: Floats) -> DetCurve:
    """Compute the DET curve of two sorted classes; `passed` is the number of negatives that precede each positive."""
    size = positive.size + negative.size
    is_positive = np.zeros(size, dtype=bool)
    is_positive[np.arange(positive.size) + passed] = True
    thresholds = np.empty(size + 1)
    thresholds[1:][is_positive] = positive
    thresholds[1:][~is_positive] = negative
    thresholds[0] = thresholds[1] - 0.001
    missed = np.concatenate(([0], np.cumsum(is_positive)))
    accepted = negative.size - (np.arange(size + 1) - missed)
    return DetCurve(missed / positive.size, accepted / negative.size, thresholds)


def det_curve(bonafide: ArrayLike, spoof: ArrayLike) -> DetCurve:
    """Compute false rejection and false acceptance rates (fractions) at all thresholds, in ascending order of threshold."""
    return rank(bonafide, spoof).curve


def eer(bonafide: ArrayLike, spoof: ArrayLike) -> tuple[float, float]:
    """Return the equal error rate (fraction) and its threshold.

    The rate is the mean of the two error rates at the first point where they are closest. If scores of both classes are equal
    at this point, the rate depends on the order of these ties. The organisers' value is returned, with a UserWarning that
    reports the range over all orders.

    Raises:
        MetricError: a class is empty, or scores are NaN or infinite.
    """
    ranked = rank(bonafide, spoof)
    value, threshold = eer_point(ranked.curve)
    warn_of_ties(ranked, value, threshold)
    return value, threshold


def eer_point(curve: DetCurve) -> tuple[float, float]:
    """Return the EER (fraction) and threshold of a DET curve, without checking for ties."""
    nearest = int(np.argmin(np.abs(curve.frr - curve.far)))
    return float(np.mean((curve.frr[nearest], curve.far[nearest]))), float(curve.thresholds[nearest])


def warn_of_ties(ranked: Ranked, value: float, threshold: float) -> None:
    """Warn if the EER depends on the order of tied scores of both classes, and report the range of its values.

    The error rates cross at the threshold, or between it and the next score; ties elsewhere have no effect.
    """
    thresholds = ranked.curve.thresholds
    following = int(np.searchsorted(thresholds, threshold, side="right"))
    for score in (threshold, *thresholds[following : following + 1]):
        edges = [np.searchsorted(scores, score, side) for scores in ranked[:2] for side in ("left", "right")]
        tied = edges[1] - edges[0], edges[3] - edges[2]
        if all(tied):
            break
    else:
        return
    passed = np.searchsorted(ranked.spoof, ranked.bonafide, side="right")
    best, _ = eer_point(_merge(ranked.bonafide, passed, ranked.spoof))
    if best == value:
        return
    low, high = sorted((best, value))
    warnings.warn(
        f"{tied[0]} bona fide and {tied[1]} spoof scores equal {score:g}, at the EER threshold: the EER lies between "
        f"{low:.4%} and {high:.4%} depending on the order of ties, and {value:.4%} is the organisers' value. "
        "Scores with more digits would settle it.",
        ScoreWarning,
        stacklevel=3,
    )


def asv_error_rates(target: ArrayLike, nontarget: ArrayLike, spoof: ArrayLike, threshold: float | None = None) -> AsvRates:
    """Compute a speaker verifier's error rates at `threshold`; the default is its EER threshold (target against nontarget).

    Raises:
        MetricError: a class is empty, or scores are NaN or infinite.
    """
    ranked = rank(target, nontarget, ("target", "nontarget"))
    attacks = as_scores(spoof, "spoof")
    own_eer, own_threshold = eer_point(ranked.curve)
    chosen = own_threshold if threshold is None else float(as_scores([threshold], "threshold")[0])
    return AsvRates(
        pfa=float(np.mean(ranked.spoof >= chosen)),
        pmiss=float(np.mean(ranked.bonafide < chosen)),
        pmiss_spoof=float(np.mean(attacks < chosen)),
        pfa_spoof=float(np.mean(attacks >= chosen)),
        eer=own_eer,
        threshold=chosen,
    )


def split_classes(labels: Any, scores: ArrayLike) -> tuple[Floats, Floats]:
    """Split scores into those of bona fide and spoof trials. `labels` are 1 / 0 or 'bonafide' / 'spoof', one per score.

    Raises:
        MetricError: a label is unknown, the lengths differ, or `as_scores` rejects the scores.
    """
    is_bonafide = bonafide_mask(labels)
    values = as_scores(scores, "trial")
    if values.size != is_bonafide.size:
        raise MetricError(f"{is_bonafide.size} labels for {values.size} scores: pass one label per score, in the same order")
    return as_scores(values[is_bonafide], "bona fide"), as_scores(values[~is_bonafide], "spoof")


def bonafide_mask(labels: Any) -> NDArray[np.bool_]:
    """Return True for each bona fide label. `labels` are 1 / 0 or 'bonafide' / 'spoof'; others raise MetricError."""
    given = np.asarray(labels)
    text = given.dtype.kind in "UTO"
    positive, negative = ("bonafide", "spoof") if text else (1, 0)
    is_bonafide = np.asarray(given == positive, dtype=bool)
    unknown = ~(is_bonafide | np.asarray(given == negative, dtype=bool))
    if given.ndim != 1 or unknown.any():
        found = repr(given[unknown].tolist()[0]) if given.ndim == 1 else f"an array of shape {given.shape}"
        raise MetricError(f"labels must be 'bonafide' / 'spoof' or 1 / 0, one per trial, not {found}")
    return is_bonafide
