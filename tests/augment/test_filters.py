import json
import random

import audiomentations
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d
from scipy.signal import correlate

from aasist_lib.audio import RATE, fit
from aasist_lib.augment.base import AugmentationError, seeded
from aasist_lib.augment.filters import FRAME, Equaliser, Resampling, TimeStretching, TrimSilence

NOISE = (0.1 * np.random.default_rng(0).standard_normal(32_000)).astype(np.float32)
OURS = {
    "resampling": lambda: Resampling((16_000, 2000), p=1.0),
    "stretching": lambda: TimeStretching((0.5, 2.0), p=1.0),
    "trimming": lambda: TrimSilence((60, 20), p=1.0),
    "equaliser": lambda: Equaliser((3, 20), p=1.0),
}
THEIRS = {
    "gain": lambda: audiomentations.Gain(-20, 6, p=1.0),
    "polarity": lambda: audiomentations.PolarityInversion(p=1.0),
    "low-pass": lambda: audiomentations.LowPassFilter(1000, 7500, 12, 48, zero_phase=True, p=1.0),
    "pitch": lambda: audiomentations.PitchShift(-4, 4, method="signalsmith_stretch", p=1.0),
    "clipping": lambda: audiomentations.ClippingDistortion(2, 40, p=1.0),
}
"""audiomentations' own transforms, with the arguments a pipeline should give them."""
ALL = OURS | THEIRS
MOVING = ("stretching", "trimming", "pitch")


def apply(name, clip, seed=0):
    """The named transform on a clip, and the transform, its parameters drawn from `seed`."""
    transform = ALL[name]()
    with seeded(np.random.default_rng(seed)):
        return transform(clip, sample_rate=RATE), transform


def lag(clip, result):
    """By how many samples `result` comes after `clip`."""
    fits = correlate(result, clip, mode="full", method="fft")
    return int(np.abs(fits).argmax()) - (len(clip) - 1)


@pytest.mark.parametrize("name", ALL)
def test_length_and_type_are_kept_and_the_clip_is_changed_but_not_in_place(name):
    for seed in range(5):
        padded = np.concatenate([np.zeros(3000, np.float32), NOISE])
        clip = padded.copy()
        result, _ = apply(name, clip, seed)
        assert result.shape == clip.shape and result.dtype == np.float32 and np.isfinite(result).all()
        assert np.array_equal(clip, padded) and np.abs(result - clip).max() > 1e-3


@pytest.mark.parametrize("name", [name for name in ALL if name not in MOVING])
def test_the_result_is_aligned_with_the_clip(name):
    assert all(abs(lag(NOISE, apply(name, NOISE, seed)[0])) <= 1 for seed in range(8))


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("length", [50, 51, 99, 100, 1000])
def test_silence_and_short_clips_pass(name, length):
    for seed in range(5):
        silence, _ = apply(name, np.zeros(length, np.float32), seed)
        assert silence.shape == (length,) and not silence.any()
        result, _ = apply(name, NOISE[:length], seed)
        assert result.shape == (length,) and np.isfinite(result).all() and result.any()


@pytest.mark.parametrize("name", [name for name in ALL if name != "low-pass"])
@pytest.mark.parametrize("length", [1, 2, 3, 7, 20])
def test_shortest_clips_pass(name, length):
    for seed in range(5):
        for clip in (np.zeros(length, np.float32), NOISE[:length]):
            result, _ = apply(name, clip, seed)
            assert result.shape == (length,) and np.isfinite(result).all()


@pytest.mark.parametrize("name", ALL)
def test_the_same_seed_and_the_same_parameters_give_the_same_result(name):
    swell = (NOISE * np.hanning(len(NOISE))).astype(np.float32)
    first, transform = apply(name, swell)
    assert np.array_equal(first, apply(name, swell)[0])
    again = ALL[name]()
    again.parameters = json.loads(json.dumps(transform.parameters))
    assert np.array_equal(first, again.apply(swell, RATE))
    assert np.array_equal(first, apply(name, swell, seed=1)[0]) == (name == "polarity")


def test_low_pass_must_be_zero_phase_and_needs_sixteen_samples():
    def filtered(clip, **settings):
        return audiomentations.LowPassFilter(1000, 1000, 48, 48, p=1.0, **settings)(clip, sample_rate=RATE)

    assert lag(NOISE, filtered(NOISE)) > 1
    assert lag(NOISE, filtered(NOISE, zero_phase=True)) == 0
    assert len(filtered(NOISE[:16], zero_phase=True)) == 16
    with pytest.raises(ValueError, match="padlen"):
        filtered(NOISE[:15], zero_phase=True)


def test_low_pass_halves_the_amplitude_at_its_cutoff():
    tone = np.sin(2 * np.pi * 2000 * np.arange(16_000) / RATE).astype(np.float32)
    result = audiomentations.LowPassFilter(2000, 2000, 12, 48, zero_phase=True, p=1.0)(tone, sample_rate=RATE)
    assert np.abs(result[4000:12_000]).max() == pytest.approx(0.5, abs=0.01)


def test_clipping_flattens_the_share_of_samples_asked_for():
    result = audiomentations.ClippingDistortion(20, 20, p=1.0)(NOISE, sample_rate=RATE)
    assert ((result == result.max()) | (result == result.min())).mean() == pytest.approx(0.2, abs=0.005)


@pytest.mark.parametrize("semitones", [-4, -1, 0.5, 4])
def test_pitch_moves_and_time_stays(semitones):
    shift = audiomentations.PitchShift(semitones, semitones, method="signalsmith_stretch", p=1.0)
    clicks = np.zeros(32_000)
    clicks[1000::1777] = 1
    bursts = (np.convolve(clicks, np.hanning(600), mode="same") * NOISE).astype(np.float32)
    energy = [gaussian_filter1d(wave.astype(np.float64) ** 2, 60) for wave in (bursts, shift(bursts, sample_rate=RATE))]
    assert abs(lag(*(curve - curve.mean() for curve in energy))) <= 16
    tone = np.sin(2 * np.pi * 1000 * np.arange(32_000) / RATE).astype(np.float32)
    spectrum = np.abs(np.fft.rfft(shift(tone, sample_rate=RATE)))
    assert spectrum.argmax() / 2 == pytest.approx(1000 * 2 ** (semitones / 12), rel=0.01)


@pytest.mark.parametrize("rate", [2000, 3999.5, 8000, 11_025, 15_000])
def test_resampling_removes_what_the_lower_rate_cannot_carry(rate):
    transform = Resampling((rate, rate), p=1.0)
    waves = (transform(NOISE, sample_rate=RATE), NOISE)
    spectrum, original = (np.abs(np.fft.rfft(wave * np.hanning(32_000))) for wave in waves)
    hertz = np.fft.rfftfreq(32_000, 1 / RATE)
    assert spectrum[hertz > 0.52 * rate].max() < 1e-3 * original.max()
    assert spectrum[hertz < 0.42 * rate] == pytest.approx(original[hertz < 0.42 * rate], abs=1e-2 * original.max())


def test_resampling_to_the_same_rate_changes_nothing():
    assert np.array_equal(Resampling((RATE, RATE), p=1.0)(NOISE, sample_rate=RATE), NOISE)


@pytest.mark.parametrize("rate", [0.5, 0.8, 1.25, 2.0])
def test_stretching_changes_the_tempo_but_not_the_pitch(rate):
    transform = TimeStretching((rate, rate), p=1.0)
    clicks = np.zeros(32_000, np.float32)
    clicks[2000::4000] = 1
    energy = gaussian_filter1d(transform(clicks, sample_rate=RATE)[:16_000].astype(np.float64) ** 2, 100)
    spacing = correlate(energy, energy, method="fft")[16_000 - 1 :]
    assert 1000 + spacing[1000:12_000].argmax() == pytest.approx(4000 / rate, rel=0.02)
    tone = np.sin(2 * np.pi * 1000 * np.arange(32_000) / RATE).astype(np.float32)
    assert np.abs(np.fft.rfft(transform(tone, sample_rate=RATE)[:16_000])).argmax() == pytest.approx(1000, abs=5)


def test_stretching_repeats_a_faster_clip_where_audiomentations_ends_in_zeros():
    result = TimeStretching((1.25, 1.25), p=1.0)(NOISE, sample_rate=RATE)
    theirs = audiomentations.TimeStretch(1.25, 1.25, p=1.0)(NOISE, sample_rate=RATE)
    assert not theirs[25_600:].any()
    assert np.array_equal(result[:25_600], theirs[:25_600]) and np.array_equal(result[25_600:], result[:6400])


def test_trimming_cuts_the_edges_below_the_threshold_and_repeats_the_rest():
    faint = 0.01 * NOISE[:3200]  # 40 dB below
    clip = np.concatenate([faint, NOISE[:8000], faint, NOISE[:8000], faint])
    assert np.array_equal(TrimSilence((30, 30), p=1.0)(clip, sample_rate=RATE), fit(clip[3200:-3200], len(clip)))
    assert np.array_equal(TrimSilence((60, 60), p=1.0)(clip, sample_rate=RATE), clip)
    # A clip that does not end with a whole frame, and one of a single loud frame
    assert np.array_equal(TrimSilence((30, 30), p=1.0)(clip[:-3207], sample_rate=RATE), fit(clip[3200:-3207], len(clip) - 3207))
    click = np.zeros(1000, np.float32)
    click[500] = 1
    assert np.array_equal(TrimSilence(p=1.0)(click, sample_rate=RATE), fit(click[3 * FRAME : 4 * FRAME], 1000))


def test_equaliser_has_the_response_drawn_and_no_phase():
    impulse = np.zeros(4001, np.float32)
    impulse[2000] = 1
    for seed in range(5):
        response, transform = apply("equaliser", impulse, seed)
        assert response == pytest.approx(response[::-1], abs=1e-6)
        found = 20 * np.log10(np.abs(np.fft.rfft(response)))
        hertz = np.fft.rfftfreq(4001, 1 / RATE)
        wide = (hertz > 400) & (hertz < 7800)
        points, gains = transform.parameters["frequencies_hz"], transform.parameters["gains_db"]
        asked = np.interp(np.log2(hertz[wide]), np.log2(points), gains)
        difference = found[wide] - asked
        assert np.abs(difference - np.median(difference)).max() < 1.5


def test_equaliser_keeps_the_level_and_draws_within_its_ranges():
    largest, counts = [], []
    for seed in range(60):
        transform = Equaliser((12, 3), points=(6, 10), p=1.0)
        random.seed(seed)
        result = transform(NOISE, sample_rate=RATE)
        assert result.std() == pytest.approx(NOISE.std(), rel=1e-3)
        hertz = transform.parameters["frequencies_hz"]
        assert 80 <= hertz[0] and hertz[-1] <= 7900 and hertz == sorted(hertz)
        largest.append(np.abs(transform.parameters["gains_db"]).max())
        counts.append(len(hertz))
    assert max(largest) <= 12 and max(largest) > 9 and set(counts) == {6, 7, 8, 9, 10}


@pytest.mark.parametrize(
    ("transform", "wrong"),
    [
        (Resampling, {"rate_hz": (1000, 8000)}),
        (Resampling, {"rate_hz": (8000, 16_001)}),
        (TimeStretching, {"rate": (0.4, 1)}),
        (TrimSilence, {"below_db": (4, 30)}),
        (Equaliser, {"gain_db": (-1, 3)}),
        (Equaliser, {"points": (1, 3)}),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(transform, wrong):
    with pytest.raises(AugmentationError, match=next(iter(wrong))):
        transform(**wrong)
