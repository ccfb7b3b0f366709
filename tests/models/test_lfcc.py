import numpy as np
import pytest
import torch
from scipy.fft import dct
from scipy.signal import lfilter

from aasist_lib.config import ConfigError, FrontendConfig
from aasist_lib.models.frontend import build_frontend
from aasist_lib.models.lfcc import LFCC

WAVE = np.random.default_rng(0).standard_normal((2, 8_000)).astype(np.float32) * 0.1


def baseline(wave: np.ndarray) -> np.ndarray:
    """The ASVspoof 2019 baseline's steps, one by one, with our logarithm; `(frames, 60)`."""
    wave = lfilter([1, -0.97], [1], wave.astype(np.float64))
    starts = range(0, len(wave) - 320 + 1, 160)
    frames = np.stack([wave[start : start + 320] for start in starts]) * np.hamming(320)
    power = np.abs(np.fft.rfft(frames, 512)) ** 2
    frequency, edges = np.linspace(0, 8_000, 257), np.linspace(0, 8_000, 22)
    triangles = np.stack([np.interp(frequency, edges[i : i + 3], [0, 1, 0]) for i in range(20)], axis=1)
    blocks = [dct(np.log(power @ triangles + 1e-6), norm="ortho")]
    for _ in range(2):
        padded = np.pad(blocks[-1], ((1, 1), (0, 0)), mode="edge")
        blocks.append((padded[2:] - padded[:-2]) / 2)
    return np.concatenate(blocks, axis=1)


def test_coefficients_and_deltas_are_those_of_the_baseline():
    states = LFCC()(torch.from_numpy(WAVE))
    assert states.shape == (2, 1, 49, 60)
    np.testing.assert_allclose(states[:, 0].numpy(), np.stack([baseline(wave) for wave in WAVE]), atol=2e-4)


@pytest.mark.parametrize("samples", [320, 479, 480, 64_600])
def test_a_frame_every_10_ms_at_any_length(samples):
    front_end = build_frontend(FrontendConfig(kind="lfcc"))
    states = front_end(torch.from_numpy(np.resize(WAVE[0], samples))[None])
    assert states.shape == (1, len(front_end.layers), 1 + (samples - 320) // 160, front_end.features)


def test_a_clip_is_the_same_beside_a_loud_one():
    """In decibels torchaudio would cut off below the loudest of the batch."""
    quiet = torch.from_numpy(WAVE) * 1e-3
    together = LFCC()(torch.stack([quiet[0], 1e6 * quiet[1]]))
    torch.testing.assert_close(together[:1], LFCC()(quiet[:1]))


def test_digital_silence_is_finite():
    assert LFCC()(torch.zeros(1, 8_000)).isfinite().all()


def test_too_short_a_clip_is_an_error_that_says_how_long_it_must_be():
    with pytest.raises(ValueError, match="319 samples; .*320"):
        LFCC()(torch.zeros(1, 319))


def test_it_has_nothing_to_train_and_says_so():
    assert not list(LFCC().parameters())
    with pytest.raises(ConfigError, match=r"model\.frontend\.finetune = 2: kind 'lfcc'"):
        build_frontend(FrontendConfig(kind="lfcc", finetune=2))


def test_identity_is_that_of_the_settings(monkeypatch):
    identity = LFCC().identity()
    assert identity == LFCC().identity() and identity["name"] == "lfcc" and identity["layers"] == [0]
    monkeypatch.setitem(LFCC.SETTINGS, "hop", 80)
    assert LFCC().identity()["sha256"] != identity["sha256"]


def test_dtype_follows_the_module():
    states = LFCC().double()(torch.from_numpy(WAVE).double())
    assert states.dtype == torch.float64
    torch.testing.assert_close(states.float(), LFCC()(torch.from_numpy(WAVE)), atol=2e-4, rtol=1e-4)
