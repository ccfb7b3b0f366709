"""Metrics of spoofing detection, equal to those of the ASVspoof organisers.

Conventions of the whole project: bona fide = 1, spoof = 0; logits are `[spoof, bona fide]`; a score is the log-odds
`logit[1] - logit[0]`, so a higher score means more bona fide. Rates are fractions in [0, 1]; percent is used only in tables and
figures. Scores are one-dimensional arrays with one value per trial. Invalid input raises `MetricError`, a ValueError.
"""

from __future__ import annotations

from numpy.typing import ArrayLike

from .costs import (
    A_DCF_COSTS,
    ASVSPOOF_COSTS,
    Costs,
    act_dcf,
    bayes_threshold,
    dcf_actual,
    dcf_minimum,
    min_a_dcf,
    min_dcf,
    min_tdcf,
)
from .intervals import Bootstrap, DetBand, Interval, PairedBootstrap, bootstrap, det_band, paired_bootstrap
from .llr import Calibration, calibrate_apply, calibrate_fit, cllr, cllr_of, min_cllr, min_cllr_of
from .operating import OperatingPoint, exact_rate, operating_point
from .rates import (
    AsvRates,
    DetCurve,
    MetricError,
    ScoreWarning,
    asv_error_rates,
    bonafide_mask,
    det_curve,
    eer,
    eer_point,
    rank,
    split_classes,
    warn_of_ties,
)
from .tables import breakdown, results_table

__all__ = [
    "ASVSPOOF_COSTS",
    "A_DCF_COSTS",
    "AsvRates",
    "Bootstrap",
    "Calibration",
    "Costs",
    "DetBand",
    "DetCurve",
    "Interval",
    "MetricError",
    "OperatingPoint",
    "PairedBootstrap",
    "ScoreWarning",
    "act_dcf",
    "asv_error_rates",
    "bayes_threshold",
    "bonafide_mask",
    "bootstrap",
    "breakdown",
    "calibrate_apply",
    "calibrate_fit",
    "cllr",
    "det_band",
    "det_curve",
    "eer",
    "exact_rate",
    "min_a_dcf",
    "min_cllr",
    "min_dcf",
    "min_tdcf",
    "operating_point",
    "paired_bootstrap",
    "results_table",
    "split_classes",
    "summarise",
]


def summarise(
    bonafide: ArrayLike, spoof: ArrayLike, p_spoof: float = 0.05, c_miss: float = 1.0, c_fa: float = 10.0
) -> dict[str, float]:
    """Compute all metrics of one system, sorting the scores once.

    Returns:
        A dict with the keys `eer, eer_threshold, min_dcf, act_dcf, cllr, min_cllr`.

    Raises:
        MetricError: a class is empty, scores are NaN or infinite, or costs are not valid.
    """
    ranked = rank(bonafide, spoof)
    value, threshold = eer_point(ranked.curve)
    warn_of_ties(ranked, value, threshold)
    return {
        "eer": value,
        "eer_threshold": threshold,
        "min_dcf": dcf_minimum(ranked.curve, p_spoof, c_miss, c_fa),
        "act_dcf": dcf_actual(ranked, p_spoof, c_miss, c_fa),
        "cllr": cllr_of(ranked.bonafide, ranked.spoof),
        "min_cllr": min_cllr_of(ranked),
    }
