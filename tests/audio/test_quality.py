"""What is noted of a wave that streams by, and what is warned of."""

import numpy as np
import pytest
import soxr

from aasist_lib.audio.quality import FRAME, AudioQuality


def watched(wave: np.ndarray, size: int = 1000) -> AudioQuality:
    levels = AudioQuality()
    blocks = [wave[start : start + size] for start in range(0, len(wave), size)]
    assert all(a is b for a, b in zip(levels.watching(blocks), blocks, strict=True))
    return levels


def voice(seconds: float, level: float = 0.1) -> np.ndarray:
    """Noise that falls towards 8 kHz, as speech does, with pauses."""
    rng, samples = np.random.default_rng(0), round(seconds * 16_000)
    spectrum = np.fft.rfft(rng.standard_normal(samples))
    spectrum *= 1 / (1 + np.fft.rfftfreq(samples, 1 / 16_000) / 500)
    wave = np.fft.irfft(spectrum, samples)
    syllables = np.sin(2 * np.pi * np.arange(samples) / 16_000) > -0.5
    return (level * wave * syllables / np.std(wave)).astype(np.float32)


@pytest.mark.parametrize("size", [1, 319, 320, 5000, 99_999])
def test_blocks_of_any_size_give_the_same_levels(size):
    wave = voice(0.51)
    levels, whole = watched(wave, size), watched(wave, len(wave))
    frames = np.pad(wave, (0, -len(wave) % FRAME)).reshape(-1, FRAME)
    assert levels.samples == len(wave) and np.array_equal(levels.peaks, np.abs(frames).max(axis=1))
    assert np.array_equal(levels.loud, whole.loud) and levels.warnings() == whole.warnings()


def test_good_speech_is_not_warned_of():
    assert watched(voice(3)).warnings() == ()
    assert watched(voice(3, level=0.005)).warnings() == ()


@pytest.mark.parametrize(
    ("wave", "warning"),
    [
        (voice(0.8), "very short: 0.80 s"),
        (np.zeros(48_000, np.float32), "almost no speech: 0.00 s"),
        (np.pad(voice(0.3), (40_000, 40_000)), "almost no speech: 0.3"),
        (voice(3, level=1e-4), "almost no speech: 0.0"),
        (np.clip(3 * voice(3, level=0.5), -1, 1), "clipped: "),
        (soxr.resample(soxr.resample(voice(3), 16_000, 8_000), 8_000, 16_000), "narrow band: nothing above 4 kHz"),
    ],
)
def test_what_speaks_against_a_score_is_said(wave, warning):
    (found,) = watched(wave).warnings()
    assert found.startswith(warning)


def test_silence_between_loud_parts_is_not_loud():
    levels = watched(np.concatenate((voice(1), 1e-3 * voice(1), voice(1))))
    assert levels.loud[:29].all() and not levels.loud[50:100].any()
