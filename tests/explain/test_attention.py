import numpy as np
import pytest
import torch

from aasist_lib.explain import clip_attention, explain_clip, stack_attention
from aasist_lib.models import build_model


@pytest.fixture
def model(tiny_profile):
    torch.manual_seed(0)
    return build_model(tiny_profile.model).eval()


def test_curves_cover_the_clip_and_sum_to_one(model):
    wave = np.random.default_rng(0).standard_normal(8_000).astype(np.float32) * 0.1
    clip = explain_clip(model, wave)
    with torch.no_grad():
        logits = model(torch.from_numpy(wave)[None])
    assert clip.score == pytest.approx(float(logits[0, 1] - logits[0, 0]), abs=1e-5)
    nodes = len(clip.node)
    assert clip.seconds[0] == 0 and clip.seconds[-1] == 0.5 and len(clip.seconds) == nodes + 1
    for curve in (clip.node, clip.band, clip.stack_time, clip.stack_band):
        assert (curve >= 0).all() and curve.sum() == pytest.approx(1, abs=1e-5)
    assert 0 < clip.stack_time_share < 1


def test_curves_of_several_members_are_the_mean_of_theirs(tiny_profile):
    torch.manual_seed(0)
    model = build_model(tiny_profile.model.model_copy(update={"members": 2})).eval()
    wave = np.random.default_rng(0).standard_normal(8_000).astype(np.float32) * 0.1
    clip, states = explain_clip(model, wave), model.frontend(torch.from_numpy(wave)[None])
    with torch.no_grad():
        frames = model.backend.mix(states)
        alone = [clip_attention(*_maps_and_score(member, frames), 0.5) for member in model.backend.members]
    assert clip.score == pytest.approx(np.mean([one.score for one in alone]), abs=1e-5)
    for curve in ("node", "band"):
        expected = np.mean([getattr(one, curve) for one in alone], axis=0)
        np.testing.assert_allclose(getattr(clip, curve), expected, atol=1e-6)
        assert not np.allclose(getattr(alone[0], curve), getattr(alone[1], curve), atol=1e-4)
    assert clip.stack_time_share == pytest.approx(np.mean([one.stack_time_share for one in alone]), abs=1e-5)


def _maps_and_score(member, frames):
    logits, maps = member(frames, torch.ones(1))
    return maps, float(logits[0, 1] - logits[0, 0])


def test_stack_attention_lands_on_the_nodes_that_pooling_kept(model):
    wave = torch.randn(3, 8_000) * 0.1
    _, maps = model(wave, return_attention=True)
    time, band = stack_attention(maps, maps.streams[0])
    torch.testing.assert_close(time.sum(dim=1) + band.sum(dim=1), torch.ones(3))
    for item in range(3):
        assert set(time[item].nonzero().flatten().tolist()) <= set(maps.kept_temporal[item].tolist())
        first_kept = maps.kept_temporal[item, 0]
        expected = maps.streams[0].first[item, :, -1, 0].mean()
        torch.testing.assert_close(time[item, first_kept], expected)
