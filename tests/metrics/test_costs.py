import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from aasist_lib import metrics
from aasist_lib.metrics import Costs, MetricError
from aasist_lib.metrics.rates import eer_point, rank

scores = hnp.arrays(np.float64, st.integers(1, 40), elements=st.floats(-50, 50, allow_nan=False, width=32))
RATES = {"pfa": 0.02, "pmiss": 0.02, "pfa_spoof": 0.6}


def loop_min_dcf(bonafide, spoof, p_spoof=0.05, c_miss=1, c_fa=10):
    """The organisers' loop, one threshold at a time."""
    curve = metrics.det_curve(bonafide, spoof)
    costs = [c_miss * (1 - p_spoof) * frr + c_fa * p_spoof * far for frr, far in zip(curve.frr, curve.far, strict=True)]
    return min(costs) / min(c_miss * (1 - p_spoof), c_fa * p_spoof)


@given(scores, scores)
def test_min_dcf_is_the_least_cost(bonafide, spoof):
    found = metrics.min_dcf(bonafide, spoof)
    assert found == pytest.approx(loop_min_dcf(bonafide, spoof), abs=1e-12)
    assert 0 <= found <= 1 + 1e-12
    assert found <= metrics.act_dcf(bonafide, spoof) + 1e-12


@given(scores, scores)
def test_min_dcf_is_at_most_2_9_times_the_eer_and_a_step(bonafide, spoof):
    eer, _ = eer_point(rank(bonafide, spoof).curve)
    # With few trials frr and far differ at the EER point by up to one trial; the law is for frr = far.
    curve = rank(bonafide, spoof).curve
    gap = np.min(np.abs(curve.frr - curve.far))
    assert metrics.min_dcf(bonafide, spoof) <= 2.9 * eer + 0.95 * gap + 1e-12


def test_min_dcf_law_on_many_trials(golden_scores):
    for case in ("gaussian", "overlap", "full_scale_asvspoof5_680774"):
        bonafide, spoof = golden_scores(case)
        assert metrics.min_dcf(bonafide, spoof) <= 2.9 * metrics.eer(bonafide, spoof)[0]


def test_actual_cost_at_the_bayes_threshold():
    assert metrics.bayes_threshold() == pytest.approx(-np.log(1.9))
    assert metrics.act_dcf([-0.6, 1.0], [-0.7, -0.65]) == 0.0
    assert metrics.act_dcf([-0.7, 1.0], [-0.7, -0.6]) == pytest.approx((0.95 * 0.5 + 0.5 * 0.5) / 0.5)


@given(scores, scores, scores)
def test_costs_only_see_the_order(first, second, third):
    ranks = np.unique(np.concatenate((first, second, third)), return_inverse=True)[1]
    curved = np.split(np.exp(ranks / 9.0), [first.size, first.size + second.size])
    assert metrics.min_dcf(first, second) == metrics.min_dcf(*curved[:2])
    assert metrics.min_a_dcf(first, second, third) == metrics.min_a_dcf(*curved)
    for version in ("2019", "2021"):
        found = metrics.min_tdcf(first, second, RATES, version)
        assert found == metrics.min_tdcf(*curved[:2], RATES, version)
        assert 0 <= found <= 1 + 1e-12


@given(scores, scores)
def test_swapping_labels_signs_and_costs_changes_nothing(bonafide, spoof):
    found = metrics.min_dcf(bonafide, spoof, p_spoof=0.05, c_miss=1, c_fa=10)
    swapped = metrics.min_dcf(-spoof, -bonafide, p_spoof=0.95, c_miss=10, c_fa=1)
    assert found == pytest.approx(swapped, abs=1e-12)


def test_costs_change_the_value():
    rng = np.random.default_rng(1)
    bonafide, spoof = rng.normal(1, 1, 500), rng.normal(0, 1, 500)
    assert metrics.min_dcf(bonafide, spoof, p_spoof=0.5, c_miss=1, c_fa=1) == pytest.approx(
        loop_min_dcf(bonafide, spoof, 0.5, 1, 1), abs=1e-12
    )


def test_tandem_cost_of_a_perfect_countermeasure():
    assert metrics.min_tdcf([1.0, 2.0], [-1.0, 0.0], RATES, "2019") == 0
    assert 0 < metrics.min_tdcf([1.0, 2.0], [-1.0, 0.0], RATES, "2021") < 0.1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"version": "2020"}, "version = '2020': .*'2019' or '2021'"),
        ({"asv_rates": {"pfa": 0.1, "pmiss": 0.1}}, "^asv_rates: pfa_spoof "),
        ({"asv_rates": {**RATES, "pmiss": 1.5}}, "^asv_rates: pmiss "),
        ({"asv_rates": {**RATES, "pmiss": 1.0}}, "asv_rates = "),
        ({"asv_rates": {**RATES, "pfa_spoof": 0.0}}, "asv_rates = "),
        ({"costs": {"p_tar": 0.9}}, "costs: .*p_target"),
    ],
)
def test_impossible_tandem_settings(arguments, message):
    with pytest.raises(MetricError, match=message):
        metrics.min_tdcf([1.0, 2.0], [-1.0, 0.0], **{"asv_rates": RATES, **arguments})


def test_a_dcf_bounds():
    assert metrics.min_a_dcf([2.0, 3.0], [0.0], [1.0]) == 0
    assert metrics.min_a_dcf([0.0], [1.0], [2.0]) == 1


def test_impossible_costs():
    with pytest.raises(MetricError, match="p_target, p_nontarget, p_spoof"):
        Costs(p_target=0.5)
    with pytest.raises(MetricError, match="c_miss=0"):
        Costs(c_miss=0)
    with pytest.raises(MetricError, match="p_spoof = 1.5"):
        metrics.min_dcf([1.0], [0.0], p_spoof=1.5)
    with pytest.raises(MetricError, match="c_fa = -1"):
        metrics.act_dcf([1.0], [0.0], c_fa=-1)


def loop_min_a_dcf(target, nontarget, spoof, costs):
    """The definition, one trial at a time; at equal scores targets are rejected first, then nontargets, then spoofs."""
    classes = (target, nontarget, spoof)
    weights = (costs.c_miss * costs.p_target, costs.c_fa_asv * costs.p_nontarget, costs.c_fa_cm * costs.p_spoof)
    counts, least = [0, 0, 0], np.inf
    for kind in [None, *(kind for _, kind in sorted((s, kind) for kind, scores in enumerate(classes) for s in scores))]:
        if kind is not None:
            counts[kind] += 1
        rejected = [count / len(scores) for count, scores in zip(counts, classes, strict=True)]
        least = min(least, weights[0] * rejected[0] + weights[1] * (1 - rejected[1]) + weights[2] * (1 - rejected[2]))
    return least / min(weights[0], weights[1] + weights[2])


@pytest.mark.parametrize("costs", [metrics.A_DCF_COSTS, Costs(c_fa_asv=2, c_fa_cm=0.5), Costs(c_miss=3, c_fa_asv=7)])
@pytest.mark.parametrize("better", [2, 0, -2])
def test_a_dcf_is_the_least_cost_over_ties_too(costs, better):
    rng = np.random.default_rng(5)
    classes = [np.round(rng.normal(shift, 1, size), 1) for shift, size in ((better, 200), (0, 150), (0.5, 130))]
    assert metrics.min_a_dcf(*classes, costs) == pytest.approx(loop_min_a_dcf(*classes, costs), abs=1e-12)


@pytest.mark.parametrize("version", ["2019", "2021"])
def test_tandem_cost_weighs_misses_by_their_cost(version):
    """The formulas of Kinnunen et al. 2020 at costs other than 1, at every threshold of three trials."""
    costs = Costs(p_target=0.7, p_nontarget=0.2, p_spoof=0.1, c_miss=4.0, c_fa_asv=3.0, c_fa_cm=32.0)
    alone = 4.0 * 0.7 * 0.02 + 3.0 * 0.2 * 0.02
    c1, c2 = 4.0 * 0.7 - alone, 32.0 * 0.1 * 0.6  # c2 < c1 < 2 c2: the least cost depends on both
    floor = alone if version == "2021" else 0.0
    points = [(0, 1), (0.5, 1), (0.5, 0), (1, 0)]  # frr, far
    expected = min(floor + c1 * frr + c2 * far for frr, far in points) / (floor + min(c1, c2))
    assert metrics.min_tdcf([0.0, 2.0], [1.0], RATES, version, costs) == pytest.approx(expected, rel=1e-12)


def test_a_verifier_that_rejects_all_leaves_no_tandem_cost():
    costs = Costs(p_target=0.9, p_nontarget=0.0, p_spoof=0.1)  # a class may be absent
    with pytest.raises(MetricError, match="asv_rates = .*'pmiss': 1.0"):
        metrics.min_tdcf([1.0], [0.0], {"pfa": 0.0, "pmiss": 1.0, "pfa_spoof": 0.5}, costs=costs)
    with pytest.raises(MetricError, match="^asv_rates: pfa, pmiss "):
        metrics.min_tdcf([1.0], [0.0], {"pfa_spoof": 0.5})
    with pytest.raises(MetricError, match="p_target, p_nontarget, p_spoof, c_miss, c_fa_asv, c_fa_cm$"):
        metrics.min_tdcf([1.0], [0.0], RATES, costs={"p_tar": 0.9})


@pytest.mark.parametrize("name", ["c_miss", "c_fa_asv", "c_fa_cm"])
def test_every_cost_must_be_above_0(name):
    with pytest.raises(MetricError, match=rf"{name}=0\.0"):
        Costs(**{name: 0.0})


@pytest.mark.parametrize(("name", "value"), [("p_spoof", 0), ("p_spoof", 1), ("c_miss", 0), ("c_fa", 0)])
def test_the_limits_of_priors_and_costs_are_refused(name, value):
    for metric in (metrics.min_dcf, metrics.act_dcf):
        with pytest.raises(MetricError, match=f"{name} = {value}"):
            metric([1.0], [0.0], **{name: value})
