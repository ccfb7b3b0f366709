"""Detection costs: DCF of a countermeasure, t-DCF of a countermeasure with a speaker verifier, a-DCF of a joint system.

Each cost is divided by the cost of the better constant decision (accept all or reject all): 0 is perfect, 1 is useless.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from .rates import AsvRates, DetCurve, MetricError, Ranked, as_scores, rank


@dataclass(frozen=True)
class Costs:
    """Priors of the three classes, which sum to 1, and costs of errors. The defaults are those of ASVspoof.

    `c_miss` is the cost of rejecting a target, `c_fa_asv` of accepting a nontarget, and `c_fa_cm` of accepting a spoof.
    """

    p_target: float = 0.95 * 0.99
    p_nontarget: float = 0.95 * 0.01
    p_spoof: float = 0.05
    c_miss: float = 1.0
    c_fa_asv: float = 10.0
    c_fa_cm: float = 10.0

    def __post_init__(self) -> None:
        priors = (self.p_target, self.p_nontarget, self.p_spoof)
        if min(priors) < 0 or abs(sum(priors) - 1) > 1e-10:
            raise MetricError(f"priors (p_target, p_nontarget, p_spoof) = {priors} must be at least 0 and sum to 1")
        if not min(self.c_miss, self.c_fa_asv, self.c_fa_cm) > 0:
            raise MetricError(f"costs c_miss, c_fa_asv and c_fa_cm must be above 0, got {self}")


ASVSPOOF_COSTS = Costs()
A_DCF_COSTS = Costs(p_target=0.9, p_nontarget=0.05, p_spoof=0.05, c_miss=1.0, c_fa_asv=10.0, c_fa_cm=20.0)


def min_dcf(bonafide: ArrayLike, spoof: ArrayLike, p_spoof: float = 0.05, c_miss: float = 1.0, c_fa: float = 10.0) -> float:
    """Return the normalised detection cost at the best threshold, in [0, 1]; the defaults are those of ASVspoof 5.

    Raises:
        MetricError: a class is empty, scores are NaN or infinite, or costs are not valid.
    """
    return dcf_minimum(rank(bonafide, spoof).curve, p_spoof, c_miss, c_fa)


def act_dcf(bonafide: ArrayLike, spoof: ArrayLike, p_spoof: float = 0.05, c_miss: float = 1.0, c_fa: float = 10.0) -> float:
    """Return the normalised detection cost at the Bayes threshold, which assumes that scores are log-likelihood ratios.

    Raises:
        MetricError: as for `min_dcf`.
    """
    return dcf_actual(rank(bonafide, spoof), p_spoof, c_miss, c_fa)


def bayes_threshold(p_spoof: float = 0.05, c_miss: float = 1.0, c_fa: float = 10.0) -> float:
    """Return the log-likelihood ratio at or above which trials are accepted at the lowest expected cost."""
    _check(p_spoof, c_miss, c_fa)
    return float(-np.log(c_miss * (1 - p_spoof) / (c_fa * p_spoof)))


def dcf_minimum(curve: DetCurve, p_spoof: float, c_miss: float, c_fa: float) -> float:
    """Return `min_dcf` for a DET curve."""
    _check(p_spoof, c_miss, c_fa)
    return float(np.min(weighted(curve.frr, curve.far, p_spoof, c_miss, c_fa)))


def dcf_actual(ranked: Ranked, p_spoof: float, c_miss: float, c_fa: float) -> float:
    """Return `act_dcf` for scores that are already ranked."""
    threshold = bayes_threshold(p_spoof, c_miss, c_fa)
    miss = np.searchsorted(ranked.bonafide, threshold, side="left") / ranked.bonafide.size
    false_alarm = (ranked.spoof.size - np.searchsorted(ranked.spoof, threshold, side="left")) / ranked.spoof.size
    return float(weighted(miss, false_alarm, p_spoof, c_miss, c_fa))


def weighted(miss: Any, false_alarm: Any, p_spoof: float, c_miss: float, c_fa: float) -> Any:
    """Return the normalised cost for miss and false-alarm rates, which are fractions (scalars or arrays)."""
    cost_miss, cost_fa = c_miss * (1 - p_spoof), c_fa * p_spoof
    return (cost_miss * miss + cost_fa * false_alarm) / min(cost_miss, cost_fa)


def min_tdcf(
    bonafide: ArrayLike,
    spoof: ArrayLike,
    asv_rates: AsvRates | Mapping[str, float],
    version: Literal["2019", "2021"] = "2019",
    costs: Costs | Mapping[str, float] = ASVSPOOF_COSTS,
) -> float:
    """Return the normalised tandem cost (t-DCF) at the countermeasure's best threshold, for a fixed speaker verifier.

    Args:
        bonafide, spoof: countermeasure scores, (trials,).
        asv_rates: the result of `asv_error_rates`, or a mapping with `pfa`, `pmiss`, `pfa_spoof` (fractions).
        version: '2019' omits the errors that the verifier makes alone; '2021' (ASV-constrained) includes them, so the cost of
            a perfect countermeasure is above 0.
        costs: a `Costs`, or a mapping of its fields.

    Raises:
        MetricError: scores, rates or costs are not valid, or the verifier is so weak that the cost is not defined.
    """
    model, rates = _as_costs(costs), _as_rates(asv_rates)
    curve = rank(bonafide, spoof).curve
    alone = model.p_target * model.c_miss * rates["pmiss"] + model.p_nontarget * model.c_fa_asv * rates["pfa"]
    miss_weight = model.p_target * model.c_miss - alone
    spoof_weight = model.p_spoof * model.c_fa_cm * rates["pfa_spoof"]
    if version not in ("2019", "2021"):
        raise MetricError(f"version = {version!r}: must be '2019' or '2021'")
    if miss_weight <= 0 or spoof_weight <= 0:
        raise MetricError(
            f"the t-DCF is not defined for asv_rates = {rates}: the verifier alone costs as much as rejecting all trials, "
            "or it accepts no spoof; check its scores and threshold"
        )
    floor = alone if version == "2021" else 0.0
    tandem = floor + miss_weight * curve.frr + spoof_weight * curve.far
    return float(np.min(tandem) / (floor + min(miss_weight, spoof_weight)))


def min_a_dcf(
    target: ArrayLike, nontarget: ArrayLike, spoof: ArrayLike, costs: Costs | Mapping[str, float] = A_DCF_COSTS
) -> float:
    """Return the normalised architecture-agnostic cost (a-DCF) at the best threshold of a single score.

    The score must reject both nontargets and spoofs. The default costs are those of the metric's authors; `ASVSPOOF_COSTS` are
    those of the challenges.

    Raises:
        MetricError: a class is empty, scores are NaN or infinite, or costs are not valid.
    """
    model = _as_costs(costs)
    classes = [as_scores(target, "target"), as_scores(nontarget, "nontarget"), as_scores(spoof, "spoof")]
    order = np.argsort(np.concatenate(classes), kind="stable")
    kind = np.repeat(np.arange(3), [scores.size for scores in classes])[order]
    rejected = [np.concatenate(([0], np.cumsum(kind == index))) for index in range(3)]
    miss = rejected[0] / classes[0].size
    false_alarm = [(scores.size - count) / scores.size for scores, count in zip(classes[1:], rejected[1:], strict=True)]
    weights = (model.c_miss * model.p_target, model.c_fa_asv * model.p_nontarget, model.c_fa_cm * model.p_spoof)
    cost = weights[0] * miss + weights[1] * false_alarm[0] + weights[2] * false_alarm[1]
    return float(np.min(cost) / min(weights[0], weights[1] + weights[2]))


def _check(p_spoof: float, c_miss: float, c_fa: float) -> None:
    if not 0 < p_spoof < 1:
        raise MetricError(f"p_spoof = {p_spoof}: the spoof prior must be between 0 and 1, both excluded")
    if not min(c_miss, c_fa) > 0:
        raise MetricError(f"c_miss = {c_miss}, c_fa = {c_fa}: costs must be above 0")


def _as_costs(costs: Costs | Mapping[str, float]) -> Costs:
    if isinstance(costs, Costs):
        return costs
    try:
        return Costs(**costs)
    except TypeError as error:
        raise MetricError(f"costs: {error}; use the fields {', '.join(Costs.__dataclass_fields__)}") from error


def _as_rates(rates: AsvRates | Mapping[str, float]) -> dict[str, float]:
    given = rates._asdict() if isinstance(rates, AsvRates) else dict(rates)
    needed = ("pfa", "pmiss", "pfa_spoof")
    wrong = [name for name in needed if not 0 <= given.get(name, np.nan) <= 1]
    if wrong:
        raise MetricError(f"asv_rates: {', '.join(wrong)} missing or outside [0, 1]; pass what asv_error_rates returns")
    return {name: float(given[name]) for name in needed}
