"""What a threshold that was chosen beforehand gives: error rates with exact intervals."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import beta

from aasist_lib import metrics
from aasist_lib.metrics import MetricError, exact_rate, operating_point


@pytest.mark.parametrize(("errors", "trials"), [(0, 60), (1, 60), (7, 20), (20, 20), (3, 10_000)])
@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_an_exact_interval_is_that_of_clopper_and_pearson(errors: int, trials: int, confidence: float) -> None:
    found, tail = exact_rate(errors, trials, confidence), (1 - confidence) / 2
    low = beta.ppf(tail, errors, trials - errors + 1) if errors else 0.0
    high = beta.ppf(1 - tail, errors + 1, trials - errors) if errors < trials else 1.0
    assert (found.value, found.low, found.high) == pytest.approx((errors / trials, low, high), abs=1e-9)


def test_none_of_sixty_may_be_six_of_a_hundred() -> None:
    assert exact_rate(0, 60).high == pytest.approx(0.0596, abs=5e-5)


def test_a_score_at_the_threshold_is_taken_for_spoof() -> None:
    found = operating_point([0.0, 1.0, 2.0, 3.0], [-1.0, 0.0, 1.0], 1.0)
    assert (found.frr.value, found.far.value, found.hter) == (0.5, 0.0, 0.25)
    assert found.rates() == (0.5, 0.0, 0.25)


def test_at_the_eer_threshold_of_the_same_scores_it_is_the_eer() -> None:
    rng = np.random.default_rng(0)
    bonafide, spoof = rng.normal(1, 1, 500), rng.normal(-1, 1, 500)
    rate, threshold = metrics.eer(bonafide, spoof)
    assert operating_point(bonafide, spoof, threshold).hter == pytest.approx(rate, abs=1 / 500)


@pytest.mark.parametrize("missing", ["bona fide", "spoof"])
def test_a_class_without_trials_has_no_rate(missing: str) -> None:
    scores = [-1.0, 1.0, 2.0]
    found = operating_point([] if missing == "bona fide" else scores, [] if missing == "spoof" else scores, 0.0)
    there = found.far if missing == "bona fide" else found.frr
    assert there is not None and there.value == (2 / 3 if missing == "bona fide" else 1 / 3)
    assert found.hter is None and sum(np.isnan(found.rates())) == 2


@pytest.mark.parametrize(
    ("bonafide", "spoof", "threshold"), [([], [], 0.0), ([1.0], [np.nan], 0.0), ([1.0], [0.0], np.inf), ([np.inf], [], 0.0)]
)
def test_what_gives_no_rates_is_refused(bonafide: list, spoof: list, threshold: float) -> None:
    with pytest.raises(MetricError):
        operating_point(bonafide, spoof, threshold)
