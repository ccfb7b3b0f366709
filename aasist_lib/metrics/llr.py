"""Scores as log-likelihood ratios: Cllr, its minimum over monotone maps, and linear calibration."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import isotonic_regression
from sklearn.linear_model import LogisticRegression

from .rates import Floats, MetricError, Ranked, as_scores, rank


@dataclass(frozen=True)
class Calibration:
    """The map `scale * score + offset` from scores to natural-log likelihood ratios."""

    scale: float
    offset: float


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

    Fit it on dev scores only. A scale below 0 (scores that point the wrong way) is kept, with a UserWarning.

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
    labels = np.repeat([1, 0], [positive.size, negative.size])
    weights = scores.size * np.where(labels == 1, (1 - p_spoof) / positive.size, p_spoof / negative.size)
    # The trace of ridge keeps the fit finite when the classes do not overlap.
    model = LogisticRegression(C=1e6, solver="newton-cholesky", tol=1e-8, max_iter=200)
    model.fit(((scores - centre) / spread)[:, None], labels, sample_weight=weights)
    scale = float(model.coef_[0, 0]) / spread
    if scale < 0:
        warnings.warn("calibration found that higher scores mean spoof: check the sign of the scores", stacklevel=2)
    return Calibration(scale, float(model.intercept_[0]) - scale * centre - float(np.log((1 - p_spoof) / p_spoof)))


def calibrate_apply(calibration: Calibration, scores: ArrayLike) -> Floats:
    """Scores, (trials,), as natural-log likelihood ratios of bona fide against spoof."""
    return calibration.scale * as_scores(scores, "trial") + calibration.offset
