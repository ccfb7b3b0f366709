import random

import numpy as np
import pytest

from aasist_lib.augment import AugmentationError, Augmenter, clip_generator
from aasist_lib.config import AugmentationConfig

TIME = np.arange(48_000) / 16_000
WAVE = (0.3 * np.sin(2 * np.pi * (200 * TIME + 80 * TIME**2)) + 0.1 * np.sin(2 * np.pi * 1234 * TIME)).astype(np.float32)


def only(**settings) -> Augmenter:
    """Every transform fires; those not asked for are set so as to change nothing that can be measured."""
    return Augmenter(AugmentationConfig(**({"probability": 1.0, "noise_snr_db": (90, 90), "gain_db": (0, 0)} | settings)))


def test_the_same_clip_gets_the_same_distortion_and_others_do_not():
    augmenter = Augmenter(AugmentationConfig(probability=1.0))
    first, applied = augmenter(WAVE, clip_generator(1, 2, "a"))
    again, applied_again = augmenter(WAVE, clip_generator(1, 2, "a"))
    assert np.array_equal(first, again) and applied == applied_again
    for other in ((2, 2, "a"), (1, 3, "a"), (1, 2, "b")):
        assert not np.array_equal(first, augmenter(WAVE, clip_generator(*other))[0])


def test_global_generators_are_left_as_they_were():
    random.seed(3)
    np.random.seed(3)  # noqa: NPY002
    expected = random.random(), np.random.random()  # noqa: NPY002
    random.seed(3)
    np.random.seed(3)  # noqa: NPY002
    Augmenter(AugmentationConfig(probability=1.0))(WAVE, clip_generator(1, 1, "a"))
    assert (random.random(), np.random.random()) == expected  # noqa: NPY002


def test_noise_has_the_snr_asked_for():
    wave, applied = only(noise_snr_db=(12, 12), mp3_kbps=(320, 320))(WAVE, clip_generator(1, 0, "a"))
    noise = wave - WAVE
    assert 10 * np.log10((WAVE**2).mean() / (noise**2).mean()) == pytest.approx(12, abs=0.5)
    assert [item.name for item in applied] == ["AddGaussianSNR", "Gain", "Mp3Compression"]


@pytest.mark.parametrize("kbps", [16, 64, 128])
def test_mp3_keeps_length_and_alignment_and_really_compresses(kbps):
    wave, applied = only(mp3_kbps=(kbps, kbps))(WAVE, clip_generator(1, 0, "a"))
    assert wave.shape == WAVE.shape and wave.dtype == np.float32
    assert applied[-1].parameters == {"bitrate": kbps}
    middle = slice(8_000, 40_000)
    fits = {d: float(wave[middle] @ np.roll(WAVE, d)[middle]) for d in range(-1200, 1201)}
    assert abs(max(fits, key=fits.get)) <= 1
    assert np.abs(wave - WAVE).max() > 1e-4


def test_probability_is_how_often_each_transform_fires():
    augmenter = Augmenter(AugmentationConfig(probability=0.3))
    count = sum(len(augmenter(WAVE[:4000], clip_generator(1, 0, str(n)))[1]) for n in range(200))
    assert 0.2 < count / 600 < 0.4
    assert Augmenter(AugmentationConfig(probability=0.0))(WAVE, clip_generator(1, 0, "a")) == (pytest.approx(WAVE), [])


def test_a_transform_that_breaks_the_clip_is_an_error_naming_it():
    augmenter = only()
    augmenter.transforms[0].apply = lambda samples, sample_rate: samples[:-1]
    with pytest.raises(AugmentationError, match=r"clip7: Applied\(name='AddGaussianSNR'"):
        augmenter(WAVE, clip_generator(1, 0, "a"), "clip7")


def test_speed_fires_with_the_probability_and_stays_in_its_range():
    augmenter = Augmenter(AugmentationConfig(probability=0.5, speed=(0.9, 1.2)))
    drawn = [augmenter.draw_speed(clip_generator(1, 0, str(n))) for n in range(300)]
    changed = [factor for factor in drawn if factor != 1.0]
    assert 0.4 < len(changed) / 300 < 0.6
    assert 0.9 <= min(changed) < 0.95 and 1.15 < max(changed) <= 1.2
