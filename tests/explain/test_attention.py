"""Attention maps as curves: they sum to 1, lie where their nodes lie, and claim no smaller field than nodes hear."""

import numpy as np
import pytest
import torch

from aasist_lib import explain
from aasist_lib.explain import clip_attention, explain_clip, node_seconds, receptive_field, stack_attention
from aasist_lib.models import build_model

WAVE = np.random.default_rng(0).standard_normal(8_000).astype(np.float32) * 0.1


def small(profile, **changes):
    """The toy model with other settings, untrained."""
    torch.manual_seed(0)
    return build_model(profile.model.model_copy(update=changes)).eval()


@pytest.fixture
def model(tiny_profile):
    return small(tiny_profile)


def test_curves_cover_the_clip_and_sum_to_one(model):
    clip = explain_clip(model, WAVE)
    with torch.no_grad():
        logits, maps = model(torch.from_numpy(WAVE)[None], return_attention=True)
    assert clip.score == pytest.approx(float(logits[0, 1] - logits[0, 0]), abs=1e-5)
    assert clip.seconds[0] == 0 and len(clip.seconds) == maps.temporal.shape[-1] + 1
    np.testing.assert_allclose(np.diff(clip.seconds), 0.06, atol=1e-9)
    assert 0.5 - 0.06 - 0.02 < clip.seconds[-1] <= 0.5
    for curves, nodes in ((clip.time, maps.temporal.shape[-1]), (clip.bands, maps.spectral.shape[-1])):
        assert list(curves) == list(explain.CURVES)
        for name, curve in curves.items():
            assert curve.shape == (nodes,) and (curve >= 0).all() and curve.sum() == pytest.approx(1, abs=1e-5), name
    assert 0 < clip.stack_time_share < 1


def test_each_curve_is_of_its_own_map(model):
    _, maps = model(torch.from_numpy(WAVE)[None], return_attention=True)
    maps.temporal = torch.zeros_like(maps.temporal)
    maps.temporal[..., 2] = 1  # every temporal node looks at the third
    maps.time_in_spectral = torch.zeros_like(maps.time_in_spectral)
    maps.time_in_spectral[..., 1] = 1
    found = {name: int(curve[0].argmax()) for name, curve in explain.time_curves(maps).items()}
    assert found["graph"] == 2 and found["nodes"] == 1


def test_pooling_counts_the_poolings_survived(model):
    _, maps = model(torch.from_numpy(WAVE)[None], return_attention=True)
    kept = maps.kept_temporal[0].tolist()
    survived = [1 + sum(place in stream.kept_temporal_second[0] for stream in maps.streams) for place in range(len(kept))]
    expected = np.zeros(maps.temporal.shape[-1])
    expected[kept] = survived
    np.testing.assert_allclose(explain.time_curves(maps)["pooling"][0], expected / expected.sum(), atol=1e-6)


def test_curves_of_several_members_are_the_mean_of_theirs(tiny_profile):
    model = small(tiny_profile, members=2)
    clip, states = explain_clip(model, WAVE), model.frontend(torch.from_numpy(WAVE)[None])
    with torch.no_grad():
        frames = model.backend.mix(states)
        alone = [clip_attention(*_maps_and_score(member, frames), clip.seconds) for member in model.backend.members]
    assert clip.score == pytest.approx(np.mean([one.score for one in alone]), abs=1e-5)
    for kind in ("time", "bands"):
        for name in ("nodes", "graph", "streams"):
            curves = [getattr(one, kind)[name] for one in alone]
            together = np.mean(curves, axis=0)
            np.testing.assert_allclose(getattr(clip, kind)[name], together, atol=0.02)
            assert not np.allclose(*curves, atol=1e-5)
    assert clip.stack_time_share == pytest.approx(np.mean([one.stack_time_share for one in alone]), abs=1e-5)


def _maps_and_score(member, frames):
    logits, maps = member(frames, torch.ones(1))
    return maps, float(logits[0, 1] - logits[0, 0])


@pytest.mark.parametrize("second", [False, True])
def test_blocks_are_the_parts_of_the_map_by_kind_of_node(model, second):
    _, maps = model(torch.from_numpy(np.stack([WAVE, WAVE[::-1]])), return_attention=True)
    whole = maps.streams[1].second if second else maps.streams[1].first
    blocks = maps.blocks(1, second)
    assert list(blocks) == [f"{a} → {b}" for a in ("temporal", "spectral", "stack") for b in ("temporal", "spectral")]
    rows = [torch.cat([blocks[f"{a} → temporal"], blocks[f"{a} → spectral"]], dim=3) for a in ("temporal", "spectral", "stack")]
    torch.testing.assert_close(torch.cat(rows, dim=2), whole)
    temporal = maps.streams[1].kept_temporal_second if second else maps.kept_temporal
    assert blocks["stack → temporal"].shape[2:] == (1, temporal.shape[1])


@pytest.mark.parametrize(("kind", "blocks", "samples"), [("encoder", 1, 32_000), ("lfcc", 1, 32_000), ("sinc", 3, 8_000)])
def test_a_node_hears_what_the_receptive_field_says_and_no_more(tiny_profile, kind, blocks, samples):
    frontend = tiny_profile.model.frontend.model_copy(update={"kind": kind})
    model = small(tiny_profile, frontend=frontend, blocks=blocks, normalise=False)
    field = receptive_field(model)
    frames = model.backend.mix(model.frontend(torch.randn(1, samples) * 0.1)).detach().requires_grad_()
    nodes = model.backend.members[0].nodes(frames, True).temporal
    middle = nodes.shape[1] // 2
    nodes[0, middle].sum().backward()
    heard = frames.grad[0].abs().sum(dim=1).nonzero().flatten() * model.frontend.stride / 16_000
    edges = node_seconds(model, samples, nodes.shape[1])
    assert edges[middle + 1] - edges[middle] == pytest.approx(field.node, abs=1e-9)
    step = model.frontend.stride / 16_000
    centre = (edges[middle] + edges[middle + 1]) / 2
    assert centre - field.back_end / 2 - 1e-6 <= float(heard.min())
    assert float(heard.max()) + step <= centre + field.back_end / 2 + 1e-6
    assert float(heard.max() - heard.min()) + step > field.back_end / 3
    assert (field.front_end is None) == (kind == "encoder")


def test_sinc_bands_have_frequencies_and_features_have_none(tiny_profile, model):
    frontend = tiny_profile.model.frontend.model_copy(update={"kind": "sinc"})
    hertz = explain.band_hertz(small(tiny_profile, frontend=frontend))
    assert len(hertz) == 24 and hertz[0] == 0 and 7_000 < hertz[-1] <= 8_000 and (np.diff(hertz) > 0).all()
    assert explain.band_hertz(model) is None


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
