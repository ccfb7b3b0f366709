import json
import math
import random
import warnings

import numpy as np
import pytest
from scipy.signal import correlate, welch

from aasist_lib.audio import RATE
from aasist_lib.augment.base import AugmentationError
from aasist_lib.augment.rawboost import RawBoost, notch_taps

NOISE = (0.1 * np.random.default_rng(0).standard_normal(32_000)).astype(np.float32)
SWELL = (NOISE * np.hanning(len(NOISE))).astype(np.float32)
ALGORITHMS = range(1, 9)


def drawn(algorithm, seed=0, **settings):
    """A transform with its parameters drawn."""
    transform = RawBoost(algorithm, p=1.0, **settings)
    random.seed(seed)
    transform.randomize_parameters(NOISE, RATE)
    return transform


def plain_taps(notches):
    """Window method, tap by tap: a unit impulse less a band-pass, under a Hamming window; then long multiplication."""
    chain = [1.0]
    for centre, width, taps in notches:
        edges = [max(centre - width / 2, 0) / RATE, min(centre + width / 2, RATE / 2) / RATE]
        product = [0.0] * (len(chain) + taps - 1)
        for k in range(taps):
            n = k - (taps - 1) // 2
            low, high = (2 * edge if n == 0 else math.sin(2 * math.pi * edge * n) / (math.pi * n) for edge in edges)
            tap = ((n == 0) - (high - low)) * (0.54 - 0.46 * math.cos(2 * math.pi * k / (taps - 1)))
            for i, other in enumerate(chain):
                product[i + k] += other * tap
        chain = product
    waves = [np.exp(-2j * np.pi * np.arange(2001) / 4000 * k) for k in range(len(chain))]
    return np.array(chain) / np.abs(sum(tap * wave for tap, wave in zip(chain, waves, strict=True))).max()


def plain_filter(wave, taps):
    """y[n] = sum over i of b[i] x[n - i + middle], the clip taken for zero outside."""
    middle = len(taps) // 2
    terms = range(len(taps))
    return [sum(taps[i] * wave[n - i + middle] for i in terms if 0 <= n - i + middle < len(wave)) for n in range(len(wave))]


def level_kept(wave, reference):
    return np.array(wave) * np.abs(reference).max() / np.abs(wave).max()


def test_notches_are_those_of_the_window_method():
    notches = [[700.0, 400.0, 21], [20.0, 900.0, 11], [7900.0, 500.0, 15]]
    assert notch_taps(notches) == pytest.approx(plain_taps(notches), abs=1e-5)
    # A gain of 1 at 0 Hz, firwin's own scale, would turn this one upside down.
    assert notch_taps([[302.5, 923.0, 47]])[23] > 0


def test_convolutive_noise_is_the_sum_over_filtered_powers():
    transform = drawn(1, orders=3, notches=2, taps=(5, 15))
    clip = NOISE[:60] * 8
    expected = np.zeros(60)
    gains, filters = transform.parameters["gains_db"], transform.parameters["filters"]
    for order, gain, notches in zip((1, 2, 3), gains, filters, strict=True):
        expected += 10 ** (gain / 20) * np.array(plain_filter([float(x) ** order for x in clip], plain_taps(notches)))
    expected += clip.mean() - expected.mean()
    assert transform.apply(clip, RATE) == pytest.approx(level_kept(expected, clip), abs=1e-4)
    assert transform.apply(clip, RATE) != pytest.approx(clip, abs=0.1)


def test_higher_orders_are_weaker_by_what_was_asked():
    gains = drawn(1, gain_db=(0, 0), nonlinear_db=(20, 5), orders=10).parameters["gains_db"]
    assert gains[0] == 0 and all(-20 <= gain <= -5 for gain in gains[1:]) and len(gains) == 10
    assert drawn(1, gain_db=(3, 3), nonlinear_db=(7, 7)).parameters["gains_db"] == [3, -4, -4, -4, -4]


def test_only_higher_orders_make_new_frequencies():
    tone = (0.9 * np.sin(2 * np.pi * 1000 * np.arange(16_000) / RATE)).astype(np.float32)
    for orders, harmonics in ((1, False), (5, True)):
        spectrum = np.abs(np.fft.rfft(drawn(1, orders=orders, centre_hz=(6500, 8000)).apply(tone, RATE)[4000:12_000]))
        assert (spectrum[[1000, 1500]].min() > 0.005 * spectrum[500]) == harmonics


def test_a_notch_is_visible_in_the_response():
    def response(notches, hertz):
        taps = notch_taps(notches)
        return abs(np.exp(-2j * np.pi * hertz / RATE * np.arange(len(taps))) @ taps)

    for centre in (1500, 3000, 6000):
        below, at, above = (response([[centre, 1000.0, 101]], hertz) for hertz in (centre - 1000, centre, centre + 1000))
        assert at < 0.01 and below > 0.9 and above > 0.9
    for notches in drawn(1).parameters["filters"]:
        taps = notch_taps(notches)
        assert np.abs(np.fft.rfft(taps, 4096)).max() == pytest.approx(1, abs=1e-3)
        assert taps == pytest.approx(taps[::-1], abs=1e-12) and len(taps) % 2
        assert all(response([notch], notch[0]) < 0.99 for notch in notches)


@pytest.mark.parametrize("percent", [0.5, 3, 10])
def test_impulsive_noise_changes_the_fraction_of_samples_asked_for(percent):
    result = drawn(2, impulses_percent=(percent, percent)).apply(NOISE, RATE).astype(np.float64)
    ratio = result / NOISE
    scale = np.median(ratio)
    change = (ratio / scale - 1)[np.abs(ratio / scale - 1) > 1e-5] / 2
    assert len(change) / len(NOISE) == pytest.approx(percent / 100, rel=0.01)
    assert np.abs(change).max() <= 1 and scale == pytest.approx(np.abs(NOISE).max() / np.abs(NOISE * ratio / scale).max())
    # d is the product of two uniform values in [-1, 1]: mean 0, variance 1/9, |d| = 0.187 in the middle
    assert abs(change.mean()) < 4 / 3 / math.sqrt(len(change)) and change.std() == pytest.approx(1 / 3, rel=0.15)
    assert np.median(np.abs(change)) == pytest.approx(0.187, rel=0.3)


def test_impulsive_noise_scales_with_its_gain():
    def noise(gain):
        result = drawn(2, impulses_percent=(5, 5), impulse_gain=gain).apply(NOISE, RATE).astype(np.float64)
        return result / np.median(result / NOISE) - NOISE

    assert noise(4.0) == pytest.approx(2 * noise(2.0), abs=1e-5)
    assert np.abs(noise(0.0)).max() < 1e-6


@pytest.mark.parametrize("snr_db", [-5, 10, 40])
def test_stationary_noise_has_the_snr_and_the_colour_asked_for(snr_db):
    transform = drawn(3, snr_db=(snr_db, snr_db), notches=1, centre_hz=(3000, 3000), bandwidth_hz=(1000, 1000), taps=(101, 101))
    assert transform.parameters["snr_db"] == snr_db
    result = transform.apply(SWELL, RATE).astype(np.float64)
    scale = result @ SWELL / (SWELL @ SWELL)
    noise = result / scale - SWELL
    assert 10 * np.log10((SWELL**2).mean() / (noise**2).mean()) == pytest.approx(snr_db, abs=0.2)
    hertz, density = welch(noise, RATE, nperseg=512)
    assert density[np.abs(hertz - 3000) < 100].max() < 0.01 * np.median(density)
    # The clip is faint at its edges, the noise is not.
    for edge in (noise[:1000], noise[-1000:]):
        assert edge.std() == pytest.approx(noise.std(), rel=0.15)


def test_stationary_noise_does_not_depend_on_the_signal():
    transform = drawn(3, snr_db=(10, 10))
    noises = []
    for clip in (SWELL, NOISE[::-1].copy()):
        result = transform.apply(clip, RATE).astype(np.float64)
        noises.append(result * np.abs(clip).max() / np.abs(result).max() - clip * (result @ clip) / (clip @ clip))
    assert np.corrcoef(noises)[0, 1] > 0.999


@pytest.mark.parametrize("algorithm", [4, 5, 6, 7])
def test_a_series_is_its_stages_one_after_the_other(algorithm):
    transform = drawn(algorithm)
    whole = transform.apply(NOISE, RATE)
    stepwise = NOISE
    for stage in {4: (1, 2, 3), 5: (1, 2), 6: (1, 3), 7: (2, 3)}[algorithm]:
        transform.parameters["algorithm"] = stage
        before, stepwise = stepwise, transform.apply(stepwise, RATE)
        assert np.abs(stepwise - before).max() > 1e-3
    assert whole == pytest.approx(stepwise, abs=1e-6)


def test_parallel_is_the_sum_of_both_at_the_level_of_the_input():
    transform = drawn(8)
    whole, parts = transform.apply(NOISE, RATE), []
    for stage in (1, 2):
        transform.parameters["algorithm"] = stage
        parts.append(transform.apply(NOISE, RATE))
    assert whole == pytest.approx(level_kept(parts[0] + parts[1], NOISE), abs=1e-6)
    assert whole != pytest.approx(parts[0], abs=0.01) and whole != pytest.approx(parts[1], abs=0.01)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_length_level_and_alignment_are_kept(algorithm):
    for seed in range(5):
        clip = NOISE.copy()
        result = drawn(algorithm, seed).apply(clip, RATE)
        assert result.shape == clip.shape and result.dtype == np.float32 and np.array_equal(clip, NOISE)
        assert np.abs(result).max() == pytest.approx(np.abs(NOISE).max(), rel=1e-5)
        assert lag(NOISE, result) == 0


def lag(clip, result):
    """By how many samples `result` comes after `clip`."""
    fits = correlate(result, clip, mode="full", method="fft")
    return int(np.abs(fits).argmax()) - (len(clip) - 1)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("length", [1, 2, 50, 100, 16_000])
def test_silence_and_very_short_clips_pass(algorithm, length):
    for seed in range(5):
        transform = drawn(algorithm, seed)
        silence = transform.apply(np.zeros(length, np.float32), RATE)
        assert silence.shape == (length,) and not silence.any()
        result = transform.apply(NOISE[:length], RATE)
        assert result.shape == (length,) and np.isfinite(result).all() and result.any()


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_parameters_are_plain_json_and_all_that_the_result_depends_on(algorithm):
    def plain(value):
        if isinstance(value, dict | list):
            return all(plain(item) for item in (value.values() if isinstance(value, dict) else value))
        return type(value) in (bool, int, float, str)

    transform = drawn(algorithm)
    other = RawBoost(p=1.0)
    other.parameters = json.loads(json.dumps(transform.parameters))
    assert plain(transform.parameters) and other.parameters == transform.parameters
    assert np.array_equal(transform.apply(NOISE, RATE), other.apply(NOISE, RATE))
    assert np.array_equal(transform.apply(NOISE, RATE), drawn(algorithm).apply(NOISE, RATE))
    assert not np.array_equal(transform.apply(NOISE, RATE), drawn(algorithm, seed=1).apply(NOISE, RATE))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_numpy_has_nothing_to_warn_of(algorithm):
    # NumPy 1.25 to 2.3 warns where 2.4 raises TypeError: int() of an array of one value.
    with warnings.catch_warnings(), np.errstate(divide="raise", invalid="raise", over="raise"):
        warnings.simplefilter("error")
        for seed in range(5):
            drawn(algorithm, seed).apply(NOISE[:2000], RATE)


def test_ranges_hold_in_either_order():
    for ends in ((10, 40), (40, 10)):
        values = [drawn(3, seed, snr_db=ends).parameters["snr_db"] for seed in range(50)]
        assert 10 <= min(values) < 15 and 35 < max(values) <= 40
    notches = [notch for seed in range(20) for taps in drawn(1, seed).parameters["filters"] for notch in taps]
    for values, low, high in zip(zip(*notches, strict=True), (20, 100, 11), (8000, 1000, 101), strict=True):
        assert low <= min(values) < 0.1 * high + low and 0.95 * high < max(values) <= high
    assert all(taps % 2 for _, _, taps in notches)


@pytest.mark.parametrize(
    "wrong",
    [
        {"algorithm": 0},
        {"algorithm": 9},
        {"orders": 0},
        {"notches": 0},
        {"centre_hz": (20, 9000)},
        {"bandwidth_hz": (0, 100)},
        {"taps": (1, 100)},
        {"nonlinear_db": (-1, 5)},
        {"impulses_percent": (0, 101)},
        {"impulse_gain": -1},
        {"snr_db": (math.nan, 10)},
    ],
)
def test_what_makes_no_sense_is_refused_by_name(wrong):
    with pytest.raises(AugmentationError, match=next(iter(wrong))):
        RawBoost(**wrong)


def test_another_rate_is_refused():
    with pytest.raises(AugmentationError, match="16000 Hz.* 8000"):
        RawBoost(p=1.0)(NOISE, sample_rate=8000)
