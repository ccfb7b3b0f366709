import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from aasist_lib import metrics

huge = hnp.arrays(np.float64, st.integers(1, 30), elements=st.sampled_from([-1e4, -9999.5, 0.0, 9999.5, 1e4]))


@given(huge, huge)
def test_every_metric_is_finite_at_huge_scores(bonafide, spoof):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*EER threshold")
        found = metrics.summarise(bonafide, spoof)
    assert np.isfinite(list(found.values())).all()
    assert 0 <= found["eer"] <= 1 and 0 <= found["min_dcf"] <= 1 + 1e-12
    assert found["min_dcf"] <= found["act_dcf"] + 1e-12 and found["min_cllr"] <= found["cllr"] + 1e-12


def test_summary_is_each_metric(golden_scores):
    bonafide, spoof = golden_scores("overlap")
    costs = {"p_spoof": 0.3, "c_miss": 2.0, "c_fa": 3.0}
    found = metrics.summarise(bonafide, spoof, **costs)
    assert (found["eer"], found["eer_threshold"]) == metrics.eer(bonafide, spoof)
    assert found["min_dcf"] == metrics.min_dcf(bonafide, spoof, **costs)
    assert found["act_dcf"] == metrics.act_dcf(bonafide, spoof, **costs)
    assert (found["cllr"], found["min_cllr"]) == (metrics.cllr(bonafide, spoof), metrics.min_cllr(bonafide, spoof))


def test_summary_warns_of_ties():
    with pytest.warns(UserWarning, match="EER threshold"):
        metrics.summarise([1.0, 1.0, 2.0, 2.0], [0.0, 0.0, 1.0, 1.0])
