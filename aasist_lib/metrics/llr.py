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
    """The map `scale * score + offset` from scores to natural-log likelihood ratios, capped at ±`bound`.

    The bound is log(n) for n trials of the rarer class: even without errors, n trials do not support a larger ratio.
    `separable` means that the scores of the two classes did not overlap, so the slope depends only on the fit's smoothing.
    """

    scale: float
    offset: float
    bound: float = math.inf
    separable: bool = False

    def beyond(self, scores: ArrayLike) -> NDArray[np.bool_]:
        """Return which scores, (trials,), have a capped ratio."""
        return np.abs(self.scale * as_scores(scores, "trial") + self.offset) > self.bound


def cllr(bonafide: ArrayLike, spoof: ArrayLike) -> float:
    """Return the cost of log-likelihood ratios in bits per trial: 0 is perfect, 1 uninformative, above 1 misleading.

    Raises:
        MetricError: a class is empty, or scores are NaN or infinite.
    """
    return cllr_of(as_scores(bonafide, "bona fide"), as_scores(spoof, "spoof"))


def cllr_of(bonafide: Floats, spoof: Floats) -> float:
    """Return `cllr` for scores that are already checked. `logaddexp` avoids overflow and loss of precision."""
    surprise = np.mean(np.logaddexp(0.0, -bonafide)) + np.mean(np.logaddexp(0.0, spoof))
    return float(0.5 * surprise / np.log(2))


def min_cllr(bonafide: ArrayLike, spoof: ArrayLike) -> float:
    """Return `cllr` in bits after the best monotone map of the scores (pool adjacent violators).

    This is the part of Cllr that no monotone calibration can remove.

    Raises:
        MetricError: as for `cllr`.
    """
    return min_cllr_of(rank(bonafide, spoof))


def min_cllr_of(ranked: Ranked) -> float:
    """Return `min_cllr` for ranked scores. At equal scores bona fide comes first, so PAV gives tied scores the same value."""
    is_bonafide = np.diff(ranked.curve.frr) > 0
    edges = isotonic_regression(is_bonafide).blocks
    in_block = np.add.reduceat(is_bonafide.astype(np.int64), edges[:-1])
    share_bonafide = in_block / ranked.bonafide.size
    share_spoof = (np.diff(edges) - in_block) / ranked.spoof.size
    mixed = (share_bonafide > 0) & (share_spoof > 0)  # a block with one class only has an infinite ratio and no cost
    llr = np.log(share_bonafide[mixed] / share_spoof[mixed])
    bits = share_bonafide[mixed] * np.logaddexp(0.0, -llr) + share_spoof[mixed] * np.logaddexp(0.0, llr)
    return float(0.5 * np.sum(bits) / np.log(2))


def calibrate_fit(bonafide: ArrayLike, spoof: ArrayLike, p_spoof: float = 0.5) -> Calibration:
    """Fit a linear calibration by logistic regression.

    The bona fide class has the total weight 1 - `p_spoof` and the spoof class `p_spoof`, regardless of their sizes. Each class
    is smoothed by one extra correct and one extra wrong trial (Platt 1999, eq. 11: targets (n + 1) / (n + 2)), so the slope
    stays finite if the scores separate perfectly. Ratios are capped at the log of the smaller class's size.

    Fit on dev scores only. A negative scale (higher scores mean spoof) is kept, with a UserWarning. Another UserWarning reports
    classes that do not overlap.

    Raises:
        MetricError: a class is empty, scores are NaN, infinite or all equal, or `p_spoof` is not within (0, 1).
    """
    positive, negative = as_scores(bonafide, "bona fide"), as_scores(spoof, "spoof")
    if not 0 < p_spoof < 1:
        raise MetricError(f"p_spoof = {p_spoof}: the spoof prior must be between 0 and 1, both excluded")
    scores = np.concatenate((positive, negative))
    centre, spread = float(np.mean(scores)), float(np.std(scores))
    if spread == 0:
        raise MetricError("all scores are equal and cannot be calibrated: check the model that produced them")
    is_bonafide = np.repeat([True, False], [positive.size, negative.size])
    sizes = np.where(is_bonafide, positive.size, negative.size)
    weights = scores.size * np.where(is_bonafide, 1 - p_spoof, p_spoof) / sizes
    truth = (sizes + 1) / (sizes + 2)
    # Each trial appears twice: with its own label, and with the rest of its weight as the other class. C makes the ridge
    # penalty negligible.
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
            "the calibration has a negative slope, so higher scores mean spoof: check the sign of the scores",
            ScoreWarning,
            stacklevel=2,
        )
    if separable:
        warnings.warn(
            f"{positive.size} bona fide and {negative.size} spoof scores do not overlap; zero observed errors do not prove "
            f"certainty, so log-likelihood ratios are capped at ±{math.log(smaller):.1f} (log {smaller})",
            ScoreWarning,
            stacklevel=2,
        )
    offset = float(model.intercept_[0]) - scale * centre - float(np.log((1 - p_spoof) / p_spoof))
    return Calibration(scale, offset, math.log(smaller), separable)


def calibrate_apply(calibration: Calibration, scores: ArrayLike) -> Floats:
    """Convert scores, (trials,), to natural-log likelihood ratios of bona fide against spoof, capped at the bound."""
    ratios = calibration.scale * as_scores(scores, "trial") + calibration.offset
    return np.clip(ratios, -calibration.bound, calibration.bound)
