import numpy as np
import pytest
import torch

from aasist_lib.config import ConfigError, FrontendConfig
from aasist_lib.models.frontend import build_frontend
from aasist_lib.models.sinc import SincFilters, mel_band_pass

WAVE = np.random.default_rng(0).standard_normal((2, 4_000)).astype(np.float32) * 0.1


def test_a_cell_is_the_largest_magnitude_of_three_filters_at_three_samples():
    bands = mel_band_pass(70, 129, 16_000).double().numpy()
    filtered = np.stack([[np.correlate(wave.astype(np.float64), band) for band in bands] for wave in WAVE])
    cells = np.abs(filtered)[:, :69, : 3 * (3_872 // 3)].reshape(2, 23, 3, -1, 3).max(axis=(2, 4))
    states = SincFilters()(torch.from_numpy(WAVE))
    assert states.shape == (2, 1, 1_290, 23)
    np.testing.assert_allclose(states[:, 0].numpy(), cells.transpose(0, 2, 1), atol=1e-6)


@pytest.mark.parametrize("samples", [131, 133, 134, 64_600])
def test_a_frame_is_three_samples_at_any_length(samples):
    front_end = build_frontend(FrontendConfig(kind="sinc"))
    states = front_end(torch.from_numpy(np.resize(WAVE[0], samples))[None])
    assert states.shape == (1, len(front_end.layers), (samples - 128) // 3, front_end.features)


def test_too_short_a_clip_is_an_error_that_says_how_long_it_must_be():
    with pytest.raises(ValueError, match="130 samples; .*131"):
        SincFilters()(torch.zeros(1, 130))


def test_it_has_nothing_to_train_and_says_so():
    front_end = SincFilters()
    assert not list(front_end.parameters()) and not front_end.state_dict()
    with pytest.raises(ConfigError, match=r"model\.frontend\.finetune = all: kind 'sinc'"):
        build_frontend(FrontendConfig(kind="sinc", finetune="all"))


def test_identity_is_that_of_the_settings(monkeypatch):
    identity = SincFilters().identity()
    assert identity == SincFilters().identity() and identity["name"] == "sinc" and identity["layers"] == [0]
    monkeypatch.setitem(SincFilters.SETTINGS, "taps", 127)
    assert SincFilters().identity()["sha256"] != identity["sha256"]


def test_dtype_follows_the_module():
    states = SincFilters().double()(torch.from_numpy(WAVE).double())
    assert states.dtype == torch.float64
    torch.testing.assert_close(states.float(), SincFilters()(torch.from_numpy(WAVE)))
