"""Scores as log-likelihood ratios: Cllr, its minimum over monotone maps, and linear calibration."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import isotonic_regression
from sklearn.linear_model import LogisticRegression

from .rates import Floats, MetricError, Ranked, ScoreWarning, as_scores, rank


@dataclass(frozen=True)
class Calibration:
    """The map `scale * score + offset` from scores to natural-log likelihood ratios, capped at ±`bound`: of n trials of the
    rarer class, none of which was wrong, no more than log(n) can be said. `separable`: no score of one class lay among the
    other's, so that the slope rests on the smoothing of the fit alone."""

    scale: float
    offset: float
    bound: float = math.inf
    separable: bool = False

    def beyond(self, scores: ArrayLike) -> NDArray[np.bool_]:
        """Which scores, (trials,), have a ratio that is capped."""
        return np.abs(self.scale * as_scores(scores, "trial") + self.offset) > self.bound


def cllr(bonafide: ArrayLike, spoof: ArrayLike) -> float:
    """Cost of log-likelihood ratios, in bits a trial: 0 is perfect, 1 is knowing nothing, more is misleading.

    Raises:
        MetricError: a class is empty, or scores are NaN or infinite.
    """
    return cllr_of(as_scores(bonafide, "bona fide"), as_scores(spoof, "spoof"))


def cllr_of(bonafide: Floats, spoof: Floats) -> float:
    """`cllr` of scores already checked. `logaddexp` neither overflows nor loses digits, whatever the score."""
    surprise = np.mean(np.logaddexp(0.0, -bonafide)) + np.mean(np.logaddexp(0.0, spoof))
    return float(0.5 * surprise / np.log(2))


def min_cllr(bonafide: ArrayLike, spoof: ArrayLike) -> float:
    """`cllr` after the best monotone map of the scores (pool adjacent violators): what no calibration removes, in bits.

    Raises:
        MetricError: as `cllr`.
    """
    return min_cllr_of(rank(bonafide, spoof))


def min_cllr_of(ranked: Ranked) -> float:
    """`min_cllr` of scores already ranked. Bona fide come first at equal scores, so PAV gives tied scores one value."""
    is_bonafide = np.diff(ranked.curve.frr) > 0
    edges = isotonic_regression(is_bonafide).blocks
    in_block = np.add.reduceat(is_bonafide.astype(np.int64), edges[:-1])
    share_bonafide = in_block / ranked.bonafide.size
    share_spoof = (np.diff(edges) - in_block) / ranked.spoof.size
    mixed = (share_bonafide > 0) & (share_spoof > 0)  # a block of one class has an infinite ratio and costs nothing
    llr = np.log(share_bonafide[mixed] / share_spoof[mixed])
    bits = share_bonafide[mixed] * np.logaddexp(0.0, -llr) + share_spoof[mixed] * np.logaddexp(0.0, llr)
    return float(0.5 * np.sum(bits) / np.log(2))


def calibrate_fit(bonafide: ArrayLike, spoof: ArrayLike, p_spoof: float = 0.5) -> Calibration:
    """Linear calibration by logistic regression; the classes weigh 1 - `p_spoof` and `p_spoof`, whatever their sizes.

    Each class counts as if one more trial of it had been wrong and one right (Platt 1999, eq. 11: targets (n + 1) / (n + 2)),
    so that scores without an error do not give a slope without end, and ratios are capped at the log of the smaller class'
    size.

    Fit it on dev scores only. A scale below 0 (scores that point the wrong way) is kept, with a UserWarning; another tells of
    classes that do not overlap.

    Raises:
        MetricError: a class is empty, scores are NaN, infinite or all equal, or `p_spoof` is not within (0, 1).
    """
    positive, negative = as_scores(bonafide, "bona fide"), as_scores(spoof, "spoof")
    if not 0 < p_spoof < 1:
        raise MetricError(f"p_spoof = {p_spoof}: the prior of spoof is a fraction between 0 and 1")
    scores = np.concatenate((positive, negative))
    centre, spread = float(np.mean(scores)), float(np.std(scores))
    if spread == 0:
        raise MetricError("all scores are equal: there is nothing to calibrate; check the model that gave them")
    is_bonafide = np.repeat([True, False], [positive.size, negative.size])
    sizes = np.where(is_bonafide, positive.size, negative.size)
    weights = scores.size * np.where(is_bonafide, 1 - p_spoof, p_spoof) / sizes
    truth = (sizes + 1) / (sizes + 2)
    # Every trial twice: as what it is, and with the rest of its weight as the other class. The trace of ridge changes nothing.
    model = LogisticRegression(C=1e6, solver="newton-cholesky", tol=1e-8, max_iter=200)
    model.fit(
        np.tile((scores - centre) / spread, 2)[:, None],
        np.concatenate((is_bonafide, ~is_bonafide)),
        sample_weight=np.concatenate((weights * truth, weights * (1 - truth))),
    )
    scale = float(model.coef_[0, 0]) / spread
    smaller = min(positive.size, negative.size)
    separable = bool(positive.min() > negative.max() or positive.max() < negative.min())
    if scale < 0:
        warnings.warn(
            "calibration found that higher scores mean spoof: check the sign of the scores", ScoreWarning, stacklevel=2
        )
    if separable:
        warnings.warn(
            f"{positive.size} bona fide and {negative.size} spoof scores do not overlap: no error seen is no certainty, and "
            f"likelihood ratios are capped at ±{math.log(smaller):.1f} (log {smaller})",
            ScoreWarning,
            stacklevel=2,
        )
    offset = float(model.intercept_[0]) - scale * centre - float(np.log((1 - p_spoof) / p_spoof))
    return Calibration(scale, offset, math.log(smaller), separable)


def calibrate_apply(calibration: Calibration, scores: ArrayLike) -> Floats:
    """Scores, (trials,), as natural-log likelihood ratios of bona fide against spoof, capped at the calibration's bound."""
    ratios = calibration.scale * as_scores(scores, "trial") + calibration.offset
    return np.clip(ratios, -calibration.bound, calibration.bound)
