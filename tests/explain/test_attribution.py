import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from aasist_lib.explain import attribution as evidence
from aasist_lib.explain.attention import CURVES
from aasist_lib.explain.attribution import FRAME_SECONDS, MAPS, SIGNED, frame_maps, hear, mean_frames, spoofness, to_grid
from aasist_lib.models import build_model
from tests.explain.planted import STRIDE, Planted, planted_wave

SAMPLES, START, END = 48_000, 40, 70
BY_THE_SCORE = ("saliency", "integrated_gradients", "occlusion", "segments")


@pytest.fixture
def model(tiny_profile):
    torch.manual_seed(0)
    return build_model(tiny_profile.model.model_copy(update={"members": 2})).eval()


@pytest.fixture
def waves():
    return 0.1 * np.random.default_rng(0).standard_normal((3, 8_000)).astype(np.float32)


@pytest.mark.parametrize("name", BY_THE_SCORE)
def test_a_planted_spoof_is_found(name):
    waves = np.stack([planted_wave(SAMPLES, START, END), planted_wave(SAMPLES, 100, 130)])
    found = frame_maps(Planted(SAMPLES), waves, [name])[name]
    assert found.shape == (2, SAMPLES // STRIDE)
    for values, start in zip(found, (START, 100), strict=True):
        truth = np.zeros(len(values))
        truth[start : start + 30] = 1
        assert roc_auc_score(truth, values) > 0.995
        assert truth[values.argmax()] == 1


def test_signs_say_spoof_above_zero_and_bona_fide_below():
    maps = frame_maps(Planted(SAMPLES), planted_wave(SAMPLES, START, END)[None], sorted(SIGNED))
    assert all(values[0, START:END].min() > 0 for values in maps.values())
    assert maps["segments"][0, :5].max() < 0  # alone, the beginning is bona fide


def test_integrated_gradients_sum_to_the_distance_from_mean_frames(tiny_profile, waves):
    torch.manual_seed(0)
    # Pooling that drops nodes makes the score jump, and no path integral sees a jump.
    smooth = tiny_profile.model.model_copy(update={"pool_ratios": (1.0, 1.0, 1.0), "members": 2})
    model = build_model(smooth).eval()
    for detector, given in ((Planted(SAMPLES), planted_wave(SAMPLES, START, END)[None]), (model, waves)):
        heard = hear(detector, torch.from_numpy(given))[1]
        with torch.no_grad():
            whole = spoofness(detector, heard) - spoofness(detector, mean_frames(heard))
        found = evidence.integrated_gradients(detector, heard, steps=200).sum(dim=1)
        np.testing.assert_allclose(found, whole, rtol=0.02, atol=0.005 * float(whole.abs().max()))


def test_spoofness_is_minus_the_score_of_all_members(model, waves):
    with torch.no_grad():
        logits = model(torch.from_numpy(waves))
        found = spoofness(model, hear(model, torch.from_numpy(waves))[1])
    torch.testing.assert_close(found, logits[:, 0] - logits[:, 1])


def test_occlusion_is_the_change_of_the_score():
    model, wave = Planted(SAMPLES), planted_wave(SAMPLES, START, END)
    heard = hear(model, torch.from_numpy(wave)[None])[1]
    found = evidence.occlusion(model, heard, width=5, hop=5)
    without = heard.clone()
    without[:, 50:55] = heard.mean(dim=1)
    with torch.no_grad():
        change = spoofness(model, heard) - spoofness(model, without)
    torch.testing.assert_close(found[0, 50:55], change.expand(5))


def test_a_window_alone_is_heard_as_a_short_clip(model, waves):
    states = hear(model, torch.from_numpy(waves))[0]
    found = evidence.segments(model, states, width=12, hop=12)
    with torch.no_grad():
        logits = model.backend(states[:, :, :12].contiguous())
    torch.testing.assert_close(found[:, 0], logits[:, 0] - logits[:, 1])
    torch.testing.assert_close(found[:, 11], found[:, 0])


def test_every_map_has_the_clip_s_frames_and_its_curve(model, waves):
    maps = frame_maps(model, waves)
    assert list(maps) == list(MAPS)
    for name, values in maps.items():
        assert values.shape == (3, 25) and np.isfinite(values).all(), name
        assert np.ptp(values, axis=1).min() > 0, name
        if name in CURVES:
            assert (values >= 0).all()
    one = frame_maps(model, waves[1:2], BY_THE_SCORE)
    for name in BY_THE_SCORE:
        np.testing.assert_allclose(one[name][0], maps[name][1], rtol=1e-3, atol=1e-5)


def test_attention_lies_over_the_frames_of_its_nodes(model, waves):
    found = frame_maps(model, waves, ["nodes"])["nodes"]
    inner = found[:, : 3 * 8].reshape(3, 8, 3)
    np.testing.assert_allclose(inner, np.repeat(inner[..., :1], 3, axis=2), rtol=1e-6)


def test_energy_is_in_decibels_and_random_follows_its_seed():
    wave = np.concatenate([np.full(3_200, 0.1), np.full(3_200, 0.01)]).astype(np.float32)[None]
    model = Planted(6_400)
    energy = frame_maps(model, wave, ["energy"])["energy"]
    np.testing.assert_allclose(energy[0], [-20] * 10 + [-40] * 10, atol=1e-3)
    random = [frame_maps(model, wave, ["random"], seed)["random"] for seed in (1, 1, 2)]
    assert np.array_equal(random[0], random[1]) and not np.array_equal(random[0], random[2])


def test_the_grid_keeps_means():
    frames = np.random.default_rng(0).random((2, 30))
    np.testing.assert_allclose(to_grid(frames, np.arange(31) * FRAME_SECONDS, 30), frames)
    fine = to_grid(frames, np.arange(31) * 0.01, 15)
    np.testing.assert_allclose(fine, frames.reshape(2, 15, 2).mean(axis=2))
    coarse = to_grid(frames, np.arange(31) * 0.06, 90)
    np.testing.assert_allclose(coarse, frames.repeat(3, axis=1))
    uneven = to_grid(frames, np.arange(31) * 0.024, 36)
    np.testing.assert_allclose(uneven.mean(axis=1), frames.mean(axis=1))
    longer = to_grid(frames, np.arange(31) * FRAME_SECONDS, 33)
    np.testing.assert_allclose(longer[:, 30:], frames[:, -1:].repeat(3, axis=1))


@pytest.mark.parametrize("kind", ["lfcc", "sinc"])
def test_other_front_ends_come_onto_the_same_grid(tiny_profile, kind):
    torch.manual_seed(0)
    frontend = tiny_profile.model.frontend.model_copy(update={"kind": kind})
    model = build_model(tiny_profile.model.model_copy(update={"frontend": frontend})).eval()
    waves = 0.1 * np.random.default_rng(0).standard_normal((2, 16_000)).astype(np.float32)
    maps = frame_maps(model, waves)
    assert {values.shape for values in maps.values()} == {(2, 50)}


def test_unusable_input_says_what_is_needed():
    model = Planted(6_400)
    with pytest.raises(ValueError, match="glow.*nodes"):
        frame_maps(model, np.zeros((1, 6_400)), ["glow"])
    with pytest.raises(ValueError, match=r"\(batch, samples\)"):
        frame_maps(model, np.zeros(6_400), ["energy"])
