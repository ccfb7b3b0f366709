"""Error rates from one ordering of the scores: the DET curve, the EER, and the error rates of a speaker verifier.

The convention is the ASVspoof organisers': trials are ordered by score, at equal scores bona fide before spoof, and
each score in turn is a threshold at or below which a trial is rejected.
"""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from aasist_lib.errors import AasistError

Floats = NDArray[np.float64]


class MetricError(AasistError, ValueError):
    """Scores, labels or costs from which the metric cannot be computed; the message says what to do."""


class ScoreWarning(UserWarning):
    """Something about the scores that whoever reads the result must know, such as ties at the threshold."""


class DetCurve(NamedTuple):
    """Operating points, one before the first score and one after each: arrays (trials + 1,), rates as fractions."""

    frr: Floats
    far: Floats
    thresholds: Floats


class AsvRates(NamedTuple):
    """Error rates (fractions) of a speaker verifier that accepts scores >= `threshold`; `eer` leaves spoofs out."""

    pfa: float
    pmiss: float
    pmiss_spoof: float
    pfa_spoof: float
    eer: float
    threshold: float


class Ranked(NamedTuple):
    """Both classes sorted, (bona fide,) and (spoof,), and the DET curve of their merger: where every metric starts."""

    bonafide: Floats
    spoof: Floats
    curve: DetCurve


def as_scores(values: ArrayLike, name: str) -> Floats:
    """`values` as a float64 vector of finite scores; `name` ('bona fide', 'target', …) is for the message.

    Raises:
        MetricError: not numbers, not one-dimensional, empty, or with NaN or infinite values.
    """
    try:
        scores = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise MetricError(f"{name} scores are not numbers ({error}): pass a one-dimensional array of floats") from error
    if scores.ndim != 1:
        raise MetricError(f"{name} scores have shape {scores.shape}: pass one score a trial, shape (trials,)")
    if not scores.size:
        raise MetricError(f"there are no {name} scores: error rates need every class; check the labels and filters")
    bad = ~np.isfinite(scores)
    if bad.any():
        raise MetricError(
            f"{int(bad.sum())} of {scores.size} {name} scores are NaN or infinite (the first at index "
            f"{int(bad.argmax())}): find the clips that gave them and score them again, or drop them knowingly"
        )
    return scores


def rank(bonafide: ArrayLike, spoof: ArrayLike, names: tuple[str, str] = ("bona fide", "spoof")) -> Ranked:
    """Validate, sort each class once and merge the two, bona fide first at equal scores."""
    positive, negative = np.sort(as_scores(bonafide, names[0])), np.sort(as_scores(spoof, names[1]))
    return Ranked(positive, negative, _merge(positive, np.searchsorted(negative, positive, side="left"), negative))


def _merge(positive: Floats, passed: NDArray[np.intp], negative: Floats) -> DetCurve:
    """The DET curve of two sorted classes; `passed` is the number of negatives that come before each positive."""
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
    """False rejection and false acceptance rates (fractions) at every threshold, in ascending order of threshold."""
    return rank(bonafide, spoof).curve


def eer(bonafide: ArrayLike, spoof: ArrayLike) -> tuple[float, float]:
    """Equal error rate (fraction) and its threshold.

    The rate is the mean of the two error rates where they are closest (the first such point). When scores of both
    classes tie there the value depends on how ties are ordered: the organisers' value is returned, with
    a UserWarning that gives the interval over all orders.

    Raises:
        MetricError: a class is empty, or scores are NaN or infinite.
    """
    ranked = rank(bonafide, spoof)
    value, threshold = eer_point(ranked.curve)
    warn_of_ties(ranked, value, threshold)
    return value, threshold


def eer_point(curve: DetCurve) -> tuple[float, float]:
    """EER (fraction) and threshold of a DET curve, without the look at ties."""
    nearest = int(np.argmin(np.abs(curve.frr - curve.far)))
    return float(np.mean((curve.frr[nearest], curve.far[nearest]))), float(curve.thresholds[nearest])


def warn_of_ties(ranked: Ranked, value: float, threshold: float) -> None:
    """Warn, with the interval, when tied scores of both classes make the EER depend on their order.

    The error rates cross at the threshold, or between it and the next score; ties elsewhere change nothing.
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
    """Error rates of a speaker verifier at `threshold`, by default its own EER threshold (target against nontarget).

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
    """Scores of the bona fide and of the spoof trials. `labels` are 1 / 0 or 'bonafide' / 'spoof', one a score.

    Raises:
        MetricError: another label, lengths that differ, or what `as_scores` refuses.
    """
    is_bonafide = bonafide_mask(labels)
    values = as_scores(scores, "trial")
    if values.size != is_bonafide.size:
        raise MetricError(f"{is_bonafide.size} labels for {values.size} scores: pass one label a score, in order")
    return as_scores(values[is_bonafide], "bona fide"), as_scores(values[~is_bonafide], "spoof")


def bonafide_mask(labels: Any) -> NDArray[np.bool_]:
    """True where a label is bona fide. `labels` are 1 / 0 or 'bonafide' / 'spoof'; anything else is a MetricError."""
    given = np.asarray(labels)
    text = given.dtype.kind in "UTO"
    positive, negative = ("bonafide", "spoof") if text else (1, 0)
    is_bonafide = np.asarray(given == positive, dtype=bool)
    unknown = ~(is_bonafide | np.asarray(given == negative, dtype=bool))
    if given.ndim != 1 or unknown.any():
        found = repr(given[unknown].tolist()[0]) if given.ndim == 1 else f"an array of shape {given.shape}"
        raise MetricError(f"labels must be 'bonafide' / 'spoof' or 1 / 0, one a trial, not {found}")
    return is_bonafide
