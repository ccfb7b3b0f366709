import numpy as np
import pytest
import soundfile

from aasist_lib import audio


def test_read_mixes_to_mono_and_resamples(tmp_path):
    time = np.arange(44_100) / 44_100
    tone = 0.5 * np.sin(2 * np.pi * 440 * time)
    soundfile.write(tmp_path / "a.wav", np.stack([tone, np.zeros_like(tone)], axis=1), 44_100, subtype="FLOAT")
    wave = audio.read(tmp_path / "a.wav")
    assert wave.dtype == np.float32 and wave.shape == (16_000,)
    expected = 0.25 * np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000)
    np.testing.assert_allclose(wave[500:-500], expected[500:-500], atol=2e-3)


@pytest.mark.parametrize(("content", "reason"), [(None, "no such file"), (b"text", "cannot be read"), (b"", "cannot be read")])
def test_unreadable_files_are_named(tmp_path, content, reason):
    path = tmp_path / "x.flac"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(audio.AudioError, match=reason) as error:
        audio.read(path)
    assert str(path) in str(error.value)


def test_empty_and_non_finite_waves_are_errors(tmp_path):
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), 16_000)
    soundfile.write(tmp_path / "nan.wav", np.array([0.1, np.nan]), 16_000, subtype="FLOAT")
    with pytest.raises(audio.AudioError, match="holds no samples"):
        audio.read(tmp_path / "empty.wav")
    with pytest.raises(audio.AudioError, match="NaN or infinite"):
        audio.read(tmp_path / "nan.wav")


def test_fit_crops_from_start_and_repeats_short_waves():
    wave = np.arange(5.0)
    assert audio.fit(wave, 3, start=1).tolist() == [1, 2, 3]
    assert audio.fit(wave, 3, start=99).tolist() == [2, 3, 4]
    assert audio.fit(wave, 12).tolist() == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1]


def test_random_start_reaches_every_crop():
    rng = np.random.default_rng(0)
    assert {audio.random_start(np.zeros(5), 3, rng) for _ in range(100)} == {0, 1, 2}
    assert audio.random_start(np.zeros(3), 3, rng) == audio.random_start(np.zeros(2), 3, rng) == 0


def test_write_flac_is_16_bit_and_refuses_what_would_clip(tmp_path):
    wave = np.array([0.5, -0.25, 0.0])
    audio.write_flac(tmp_path / "sub" / "a.flac", wave)
    assert soundfile.info(tmp_path / "sub" / "a.flac").subtype == "PCM_16"
    np.testing.assert_allclose(audio.read(tmp_path / "sub" / "a.flac"), wave, atol=2**-15)
    for bad in (np.array([1.5]), np.array([np.nan]), np.zeros(0)):
        with pytest.raises(audio.AudioError):
            audio.write_flac(tmp_path / "b.flac", bad)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["sub"]


@pytest.mark.parametrize("factor", [0.9, 1.0, 1.15])
def test_change_speed_moves_length_and_pitch_together(factor):
    wave = np.sin(2 * np.pi * 500 * np.arange(16_000) / 16_000).astype(np.float32)
    faster = audio.change_speed(wave, factor)
    assert abs(len(faster) - 16_000 / factor) <= 1
    spectrum = np.abs(np.fft.rfft(faster * np.hanning(len(faster))))
    assert np.argmax(spectrum) * 16_000 / len(faster) == pytest.approx(500 * factor, abs=2)
