import pytest
import torch

from aasist_lib.config import ModelConfig
from aasist_lib.models import BackEnd, build_model
from aasist_lib.models.fusion import AttentionFusion, MaxFusion
from aasist_lib.models.graph import GraphAttention, GraphPool, HeterogeneousAttention

SMALL = {"projection": 24, "channels": (4, 8), "blocks": 3, "graph_dims": (8, 4), "heads": 2}


def back_end(**settings) -> BackEnd:
    torch.manual_seed(0)
    return BackEnd(ModelConfig(**(SMALL | settings)), layers=3, features=16)


@pytest.mark.parametrize("fusion", ["attention", "max"])
@pytest.mark.parametrize("frames", [9, 50, 202])
def test_any_number_of_frames_gives_two_logits(fusion, frames):
    logits = back_end(fusion=fusion)(torch.randn(2, 3, frames, 16))
    assert logits.shape == (2, 2) and torch.isfinite(logits).all()


@pytest.mark.parametrize("fusion", ["attention", "max"])
def test_every_parameter_gets_a_gradient(fusion):
    model = back_end(fusion=fusion, dropout=0.0, attention_dropout=0.0)
    model(torch.randn(4, 3, 60, 16)).square().sum().backward()
    # A key bias shifts every score of a query alike: softmax does not see it.
    without = [name for name, p in model.named_parameters() if p.grad is None]
    assert not without


def test_asking_for_attention_does_not_change_the_logits():
    model = back_end().eval()
    states = torch.randn(3, 3, 60, 16)
    with torch.no_grad():
        plain = model(states)
        logits, maps = model(states, return_attention=True)
    torch.testing.assert_close(logits, plain, atol=1e-5, rtol=0)
    assert maps.temporal.shape == (3, 2, 20, 20) and maps.spectral.shape == (3, 2, 8, 8)
    assert maps.streams[1].first.shape == (3, 2, 10 + 4 + 1, 10 + 4)
    assert maps.fusion["temporal"].shape == (3, 2, 10, 10)
    for rows in (maps.layers, maps.temporal, maps.spectral, maps.time_in_spectral, maps.frequency_in_temporal,
                 maps.streams[0].first, maps.streams[1].second, *maps.fusion.values()):  # fmt: skip
        torch.testing.assert_close(rows.sum(dim=-1), torch.ones(rows.shape[:-1]))


def test_plain_training_step_runs_every_attention_in_the_fused_kernel():
    """2 graphs + 2 streams of 2 layers + 3 fusions. Without attention dropout, which the CPU's fused kernel lacks."""
    model = back_end(attention_dropout=0.0).train()
    with torch.profiler.profile() as profile:
        model(torch.randn(2, 3, 60, 16)).sum().backward()
    calls = {event.key: event.count for event in profile.key_averages()}
    assert calls["aten::_scaled_dot_product_flash_attention_for_cpu"] == 9
    assert "aten::_scaled_dot_product_attention_math" not in calls and "aten::_safe_softmax" not in calls


def test_eval_is_deterministic_and_train_is_not():
    model, states = back_end(), torch.randn(2, 3, 60, 16)
    model.train()
    assert not torch.equal(model(states), model(states))
    model.eval()
    assert torch.equal(model(states), model(states))


def test_graph_attention_treats_nodes_as_a_set():
    layer = GraphAttention(8, 4, 2, 0.0).eval()
    nodes, order = torch.randn(2, 6, 8), torch.randperm(6)
    torch.testing.assert_close(layer(nodes[:, order])[0], layer(nodes)[0][:, order])


def test_pooling_keeps_the_nodes_with_the_highest_score():
    pool = GraphPool(4, 0.5, 0.0).eval()
    nodes = torch.randn(2, 7, 4)
    scores = pool.score(nodes)
    kept_nodes, kept = pool(nodes)
    assert kept.shape == (2, 3)
    for item in range(2):
        assert set(kept[item].tolist()) == set(scores[item, :, 0].topk(3).indices.tolist())
        torch.testing.assert_close(kept_nodes[item], (nodes * scores)[item, kept[item]])


def test_queries_and_keys_depend_on_the_type_of_node():
    layer = HeterogeneousAttention(8, 4, 2, 0.0).eval()
    temporal, spectral, stack = torch.randn(1, 5, 8), torch.randn(1, 3, 8), torch.randn(1, 1, 8)
    before = layer(temporal, spectral, stack, return_weights=True)
    with torch.no_grad():
        layer.key["spectral"].weight.zero_()
    after = layer(temporal, spectral, stack, return_weights=True)
    assert not torch.allclose(before[3][..., 5:], after[3][..., 5:])
    logits_ratio = before[3][..., :5].log() - after[3][..., :5].log()  # temporal keys are what they were
    torch.testing.assert_close(logits_ratio, logits_ratio[..., :1].expand_as(logits_ratio))


def test_fusion_by_attention_sees_both_streams_and_max_is_the_original():
    first, second = torch.randn(2, 5, 8), torch.randn(2, 5, 8)
    fusion = AttentionFusion(8, 2, 0.0).eval()
    fused, weights = fusion(first, second, return_weights=True)
    assert fused.shape == (2, 10, 8) and weights.shape == (2, 2, 10, 10)
    changed, _ = fusion(first, second + torch.randn_like(second))
    assert not torch.allclose(fused[:, :5], changed[:, :5])
    assert torch.equal(MaxFusion()(first, second)[0], torch.maximum(first, second))


def test_build_model_maps_waveforms_to_logits(tiny_profile):
    model = build_model(tiny_profile.model).eval()
    logits, maps = model(torch.randn(2, 8_000) * 0.1, return_attention=True)
    assert logits.shape == (2, 2) and maps.layers.shape == (4,)
    with pytest.raises(ValueError, match="batch, samples"):
        model(torch.randn(8_000))


def test_normalising_takes_away_what_all_frames_of_a_clip_share():
    model = back_end(normalise=True).eval()
    model.mix = torch.nn.Identity()
    frames = torch.randn(2, 60, 16)
    scale, offset = torch.rand(2, 1, 16) + 0.5, torch.randn(2, 1, 16)
    torch.testing.assert_close(model(frames), model(frames * scale + offset), atol=2e-2, rtol=2e-2)
    plain = back_end(normalise=False).eval()
    plain.mix = torch.nn.Identity()
    assert not torch.allclose(plain(frames), plain(frames * scale + offset), atol=2e-2, rtol=2e-2)
