import json
import random

import numpy as np
import pytest

from aasist_lib.augment.base import AugmentationError, record
from aasist_lib.augment.telephone import (
    CROSS_FADE,
    FRAME,
    PacketLoss,
    QuantisedTelephone,
    Telephone,
    band_pass,
    conceal,
    gilbert,
)
from tests.augment.test_codecs import VOICE, lag

RATE = 16_000
NOISE = (0.1 * np.random.default_rng(4).standard_normal(2 * RATE)).astype(np.float32)
TONE = (0.5 * np.sin(2 * np.pi * 330 * np.arange(2 * RATE) / RATE)).astype(np.float32)


def band_db(wave: np.ndarray, low: float, high: float) -> float:
    """Mean power between two frequencies."""
    hertz = np.fft.rfftfreq(len(wave), 1 / RATE)
    spectrum = np.abs(np.fft.rfft(wave.astype(np.float64))) ** 2
    return 10 * np.log10(np.mean(spectrum[(hertz >= low) & (hertz < high)]) + 1e-12)


def lost_at(*frames: int, count: int = 100) -> np.ndarray:
    lost = np.zeros(count, dtype=bool)
    lost[list(frames)] = True
    return lost


def test_the_band_is_that_of_a_telephone_and_stays_in_place():
    passed = band_pass(NOISE)
    assert band_db(passed, 400, 3300) == pytest.approx(band_db(NOISE, 400, 3300), abs=0.1)
    for edge in (300, 3400):
        assert band_db(passed, edge - 5, edge + 5) - band_db(NOISE, edge - 5, edge + 5) == pytest.approx(-6, abs=1.5)
    for low, high in ((0, 150), (3550, 8000)):
        assert band_db(passed, low, high) < band_db(NOISE, low, high) - 45
    assert lag(passed, NOISE) == 0


@pytest.mark.parametrize(("codec", "kbps"), [("a-law", 64), ("mu-law", 64), ("amr-nb", 12.2), ("amr-nb", 4.75), ("g726", 32)])
def test_a_telephone_call_is_narrow_aligned_and_as_long(codec, kbps):
    call = Telephone((codec,), (kbps, kbps), p=1.0)
    heard = call(VOICE, RATE)
    assert call.parameters == {"should_apply": True, "codec": codec, "kbps": kbps, "rate_hz": 8_000}
    assert heard.shape == VOICE.shape and heard.dtype == np.float32
    assert abs(lag(heard)) <= 1
    assert band_db(heard, 400, 3300) == pytest.approx(band_db(VOICE, 400, 3300), abs=3)
    assert band_db(heard, 4200, 8000) < band_db(VOICE, 4200, 8000) - 40


def test_a_telephone_is_finite_on_silence_and_on_short_clips():
    call = Telephone(p=1.0)
    random.seed(1)
    for length in (1, 2, 17, 100, 401):
        for clip in (np.zeros(length, np.float32), NOISE[:length]):
            heard = call(clip, RATE)
            assert heard.shape == clip.shape and heard.dtype == np.float32 and np.isfinite(heard).all()


def test_a_wide_band_codec_is_no_telephone():
    with pytest.raises(AugmentationError, match="8000 Hz.*: g722"):
        Telephone(("a-law", "g722"))


@pytest.mark.parametrize(("loss", "burst"), [(0.05, 1.0), (0.1, 3.0), (0.3, 2.0), (0.5, 5.0)])
def test_loss_and_bursts_are_as_asked_in_the_long_run(loss, burst):
    lost = gilbert(200_000, loss, burst, np.random.default_rng(1))
    bursts = np.flatnonzero(np.diff(lost, prepend=False, append=False)).reshape(-1, 2)
    assert lost.mean() == pytest.approx(loss, rel=0.05)
    assert np.diff(bursts).mean() == pytest.approx(burst, rel=0.05)
    assert not lost[0]


def test_what_was_lost_is_recorded_and_the_rest_is_untouched():
    random.seed(2)
    transform = PacketLoss((0.2, 0.2), 2.0, "zero", p=1.0)
    heard = transform(NOISE, RATE)
    drawn = json.loads(json.dumps(record(transform)))
    frames = heard.reshape(-1, FRAME)
    assert drawn["loss_reached"] == np.mean(np.abs(frames[:, CROSS_FADE:]).max(axis=1) == 0) > 0
    assert drawn["loss"] == 0.2 and drawn["burst"] == 2 and drawn["concealment"] == "zero"
    inner = slice(CROSS_FADE, FRAME - CROSS_FADE)
    arrived = np.abs(frames[:, inner]).max(axis=1) > 0
    assert np.array_equal(frames[arrived, inner], NOISE.reshape(-1, FRAME)[arrived, inner])
    transform.freeze_parameters()
    assert np.array_equal(heard, transform(NOISE, RATE))
    assert lag(heard, NOISE) == 0


def test_bursts_are_long_enough_for_the_loss():
    random.seed(2)
    transform = PacketLoss((0.9, 0.9), 1.0, p=1.0)
    transform(NOISE, RATE)
    assert transform.parameters["burst"] == pytest.approx(9)
    assert transform.measured["loss_reached"] > 0.6


def test_a_repeated_frame_is_the_last_one_and_fades_out_within_60_ms():
    heard = conceal(NOISE, lost_at(*range(10, 16)), "repeat").reshape(-1, FRAME)
    last = NOISE.reshape(-1, FRAME)[9]
    fading = 1 - np.arange(6 * FRAME) / (3 * FRAME)
    body = slice(0, FRAME - CROSS_FADE)
    for repetition in range(3):
        gain = fading[repetition * FRAME : (repetition + 1) * FRAME]
        assert np.allclose(heard[10 + repetition][body], (gain * last)[body], atol=1e-6)
    assert not heard[13:16].any()
    assert np.array_equal(heard[16][CROSS_FADE:], NOISE.reshape(-1, FRAME)[16][CROSS_FADE:])


@pytest.mark.parametrize("concealment", ["zero", "repeat"])
def test_gaps_begin_and_end_without_a_click(concealment):
    lost = lost_at(7, 20, 21, 22, 40, 42, 44, 99)
    heard = conceal(TONE, lost, concealment)
    steepest = np.abs(np.diff(TONE)).max()
    assert np.abs(np.diff(heard)).max() < 1.5 * steepest
    # The test itself: without cross-fades there is a click.
    cut = np.where(np.repeat(lost, FRAME), 0, TONE)
    assert np.abs(np.diff(cut)).max() > 2 * steepest


@pytest.mark.parametrize("concealment", ["zero", "repeat"])
def test_packet_loss_is_finite_on_silence_and_on_short_clips_and_never_loses_all(concealment):
    random.seed(3)
    transform = PacketLoss((0.9, 0.9), 5.0, concealment, p=1.0)
    for length in (1, 2, 17, 100, FRAME, FRAME + 1, 5 * FRAME - 1):
        heard = transform(NOISE[:length], RATE)
        assert heard.shape == (length,) and heard.dtype == np.float32 and np.isfinite(heard).all() and heard.any()
        assert not transform(np.zeros(length, np.float32), RATE).any()


def test_no_loss_changes_nothing_and_the_clip_handed_in_stays_as_it_was():
    assert np.array_equal(PacketLoss((0, 0), p=1.0)(NOISE, RATE), NOISE)
    before = NOISE.copy()
    random.seed(4)
    assert not np.array_equal(PacketLoss((0.3, 0.3), p=1.0)(NOISE, RATE), NOISE)
    assert np.array_equal(before, NOISE)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"loss": (0.1, 0.95)}, r"loss .*\[0, 0.9\]"),
        ({"loss": (-0.1, 0.5)}, r"loss .*\[0, 0.9\]"),
        ({"loss": (float("nan"), 0.5)}, r"loss .*\[0, 0.9\]"),
        ({"burst": 0.5}, "burst .*1 frame"),
        ({"concealment": "guess"}, "concealment .*zero, repeat.*'guess'"),
    ],
)
def test_bad_arguments_are_errors_that_say_what_is_allowed(arguments, message):
    with pytest.raises(AugmentationError, match=message):
        PacketLoss(**arguments)


def test_the_paper_s_telephone_has_seven_bits_a_telephone_s_band_and_the_noise_asked_for():
    random.seed(2)
    transform = QuantisedTelephone((15, 15), p=1.0)
    heard = transform(NOISE, RATE)
    transform.freeze_parameters()
    assert heard.shape == NOISE.shape and heard.dtype == np.float32 and np.array_equal(heard, transform(NOISE, RATE))
    assert transform.measured["snr_db"] == pytest.approx(15, abs=0.1)
    steps = np.round(NOISE * 64) / 64
    assert len(np.unique(steps)) < 128
    noise = heard - band_pass(steps)
    assert 10 * np.log10(np.mean(band_pass(steps) ** 2) / np.mean(noise**2)) == pytest.approx(15, abs=0.1)
