"""How far the distortions have risen in an epoch."""

import pytest

from aasist_lib.augment import progress
from aasist_lib.config.augmentation import AugmentationConfig

CONFIG = AugmentationConfig.model_validate({"probability": [0.5, 0.9], "intensity": [1.0, 1.8], "ramp_epochs": 10})


def test_nothing_rises_before_the_switch_and_all_has_risen_ramp_epochs_later():
    assert [progress(CONFIG, epoch, None) for epoch in (1, 50)] == [0, 0]
    assert [progress(CONFIG, epoch, 5) for epoch in (1, 4)] == [0, 0]
    assert [progress(CONFIG, epoch, 5) for epoch in (5, 9, 14, 15, 30)] == pytest.approx([0.1, 0.5, 1, 1, 1])


def test_without_a_ramp_it_stays_at_the_beginning():
    assert progress(AugmentationConfig(), 9, 1) == 0


@pytest.mark.parametrize(("views", "ramp", "first"), [(3, 0, 3), (3, 10, 2), (2, 10, 1), (4, 10, 2), (1, 10, 1)])
def test_half_of_a_bank_s_views_are_of_the_end_of_the_rise(views, ramp, first):
    assert AugmentationConfig(views=views, ramp_epochs=ramp).first_risen_view == first
