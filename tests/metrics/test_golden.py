"""Equality with the values that the ASVspoof 5 organisers' evaluation code gave."""

import warnings

import numpy as np
import pytest

from aasist_lib import metrics
from aasist_lib.corpora.protocols import read_key
from aasist_lib.evaluation.asv import read_asv
from aasist_lib.evaluation.matching import join
from aasist_lib.evaluation.score_files import read_scores

CM = {  # case: first bona fide score, then EER, threshold, minDCF, actDCF, Cllr
    "gaussian": (
        *(2.0018452300362237, 0.114, 0.18888642714114412),
        *(0.3243888888888888, 0.42283333333333334, 0.4805489996605814),
    ),
    "overlap": (-1.538266398496882, 0.452, 0.05356057552159762, 0.9838, 1.1014, 1.0675167070313585),
    "ties_rounded_1dp": (0.2, 0.22908333333333333, 0.3, 0.5877333333333331, 0.6551333333333333, 0.7122125091411744),
    "perfect": (1.9560017096289752, 0.0, -1.0070878211688434, 0.0, 0.0, 0.29974183214285394),
    "inverted": (
        *(-0.9658072327468158, 0.8438095238095238, -0.09528857863061746),
        *(1.0, 2.132904761904762, 2.019888497807523),
    ),
    "tiny_3_vs_5": (0.9931732201344768, 0.26666666666666666, 0.9931732201344768, 0.2, 0.6, 0.6985959931875613),
    "full_scale_asvspoof5_680774": (
        *(3.6921078719489078, 0.08736841309015873, -0.13976930205692772),
        *(0.244212380026384, 0.26749387888798487, 0.4226765628271574),
    ),
}
ASV = {
    "pfa": 0.021333333333333333,
    "pmiss": 0.021,
    "pmiss_spoof": 0.38375,
    "pfa_spoof": 0.61625,
    "eer": 0.021,
    "threshold": 1.111288716229629,
}
TDCF = {"2019": 0.387699691322966, "2021": 0.4281182372417142}
A_DCF = 0.5115380952380953, 0.5372592592592593  # at the costs of ASVspoof, and at those of the metric's authors
# The organisers' code on the scores that the authors of RawGAT-ST (mul) published for ASVspoof 2019 LA.
REAL_ASV = {"eer": 0.02457784, "threshold": -5.680051, "pfa": 0.0246047, "pmiss": 0.0245810, "pmiss_spoof": 0.2393475}
REAL_CM = {"eer": 0.01060135, "min_dcf": 0.0298931, "act_dcf": 0.0443954, "cllr": 0.0662520, "min_cllr": 0.0465271}
REAL_TDCF = {"2019": 0.033539, "2021": 0.094168}
exactly = pytest.approx


def near(value):
    return exactly(value, abs=1e-12, rel=0)


@pytest.mark.parametrize("case", CM)
@pytest.mark.filterwarnings("ignore:.*at the EER threshold")
def test_countermeasure_metrics(case, golden_scores):
    bonafide, spoof = golden_scores(case)
    first, eer, threshold, min_dcf, act_dcf, cllr = CM[case]
    assert bonafide[0] == near(first)
    assert metrics.eer(bonafide, spoof) == (near(eer), near(threshold))
    assert metrics.min_dcf(bonafide, spoof) == near(min_dcf)
    assert metrics.act_dcf(bonafide, spoof) == near(act_dcf)
    assert metrics.cllr(bonafide, spoof) == near(cllr)
    summary = metrics.summarise(bonafide, spoof)
    assert list(summary) == ["eer", "eer_threshold", "min_dcf", "act_dcf", "cllr", "min_cllr"]
    assert list(summary.values())[:5] == [near(value) for value in (eer, threshold, min_dcf, act_dcf, cllr)]
    assert summary["min_cllr"] == metrics.min_cllr(bonafide, spoof) <= min(1, cllr)


def test_tandem_metrics(golden_scores, golden_asv):
    bonafide, spoof = golden_scores("tandem")
    rates = metrics.asv_error_rates(*golden_asv)
    assert rates._asdict() == {name: near(value) for name, value in ASV.items()}
    for form, value in TDCF.items():
        assert metrics.min_tdcf(bonafide, spoof, rates, version=form) == near(value)
        assert metrics.min_tdcf(bonafide, spoof, ASV, version=form) == near(value)


def test_a_dcf(golden_asv):
    assert metrics.min_a_dcf(*golden_asv, costs=metrics.ASVSPOOF_COSTS) == near(A_DCF[0])
    default = {"p_target": 0.9, "p_nontarget": 0.05, "p_spoof": 0.05, "c_miss": 1, "c_fa_asv": 10, "c_fa_cm": 20}
    assert metrics.min_a_dcf(*golden_asv) == metrics.min_a_dcf(*golden_asv, default) == near(A_DCF[1])


def test_published_system_on_asvspoof_2019(reference_2019):
    scores = read_scores(reference_2019 / "cm_scores_rawgat_st_mul.txt.gz")
    table = join(scores, read_key(reference_2019 / "cm_protocol_eval.txt.gz"))
    rates = metrics.asv_error_rates(*read_asv(reference_2019 / "asv_scores_eval.txt.gz"))
    assert 100 * rates.eer == exactly(2.457784, abs=5e-7)
    assert {name: getattr(rates, name) for name in REAL_ASV} == exactly(REAL_ASV, abs=5e-8)
    bonafide, spoof = metrics.split_classes(table["label"], table["score"])
    assert (bonafide.size, spoof.size) == (7355, 63882)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = metrics.summarise(bonafide, spoof)
    assert 100 * found["eer"] == exactly(1.060135, abs=5e-7)
    assert {name: found[name] for name in REAL_CM} == exactly(REAL_CM, abs=5.1e-8)
    for form, value in REAL_TDCF.items():
        assert metrics.min_tdcf(bonafide, spoof, rates, form) == exactly(value, abs=5e-7)


def test_float32_scores_are_taken_as_they_are(golden_scores):
    bonafide, spoof = (scores.astype(np.float32) for scores in golden_scores("overlap"))
    assert metrics.eer(bonafide, spoof)[0] == near(0.452)
