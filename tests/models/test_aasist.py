import itertools

import pytest
import torch
from torch.nn import functional

from aasist_lib.config import FrontendConfig, ModelConfig
from aasist_lib.models import BackEnd, build_model
from aasist_lib.models.fusion import AttentionFusion, MaxFusion
from aasist_lib.models.graph import GraphAttention, GraphPool, HeterogeneousAttention
from aasist_lib.models.nodes import LayerMix

SMALL = {"projection": 24, "channels": (4, 8), "blocks": 3, "graph_dims": (8, 4), "heads": 2}


def back_end(**settings) -> BackEnd:
    torch.manual_seed(0)
    return BackEnd(ModelConfig(**(SMALL | settings)), layers=3, features=16)


POSITIONS = {
    "frontend": ("encoder", "sinc"),
    "graph_attention": ("multihead", "pairwise"),
    "heterogeneous": ("typed_qk", "type_pairs"),
    "fusion": ("attention", "max"),
    "readout": ("linear", "cosine"),
    "members": (1, 2),
}
EVERY = [dict(zip(POSITIONS, choice, strict=True)) for choice in itertools.product(*POSITIONS.values())]


def switched(choice: dict, **settings) -> torch.nn.Module:
    """The back end with the switches so; states of it are `states(choice)`."""
    settings = SMALL | settings | choice | {"frontend": FrontendConfig(kind=choice["frontend"])}
    torch.manual_seed(0)
    return BackEnd(ModelConfig(**settings), layers=1 if choice["frontend"] == "sinc" else 3, features=16)


def states(choice: dict, frames: int = 60, batch: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(batch, 1 if choice["frontend"] == "sinc" else 3, frames, 16, generator=generator)


@pytest.mark.parametrize("choice", EVERY, ids=lambda choice: "-".join(map(str, choice.values())))
def test_every_position_of_the_switches(choice):
    """Any length; a gradient for every parameter; the same logits with attention asked for; maps whose rows sum to 1."""
    model = switched(choice, dropout=0.0, attention_dropout=0.0).eval()
    for frames in (27, 50, 202):
        logits = model(states(choice, frames))
        assert logits.shape == (3, 2) and torch.isfinite(logits).all()
    plain = model(states(choice))
    assert torch.equal(plain, model(states(choice)))
    logits, maps = model(states(choice), return_attention=True)
    torch.testing.assert_close(logits, plain, atol=1e-5, rtol=0)
    assert len(maps.members) == choice["members"]
    for member in maps.members:
        places = (member.layers, member.time_in_spectral, member.frequency_in_temporal)
        layers = [m for stream in member.streams for m in (stream.first, stream.second)]
        for rows in (*places, member.temporal, member.spectral, *layers, *member.fusion.values()):
            torch.testing.assert_close(rows.sum(dim=-1), torch.ones(rows.shape[:-1]))
    model(states(choice, batch=16)).square().sum().backward()
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    assert not [name for name, p in trained.items() if p.grad is None or not torch.isfinite(p.grad).all()]
    blind = {name for name, p in trained.items() if not p.grad.any()}
    # A maximum may prefer one stream throughout, so long as nothing is trained: the other one's gradient is zero then.
    assert not {name for name in blind if choice["fusion"] == "attention" or "streams." not in name}


@pytest.mark.parametrize("choice", EVERY[:: len(EVERY) // 8], ids=lambda choice: "-".join(map(str, choice.values())))
def test_training_draws_dropout_and_eval_does_not(choice):
    model = switched(choice).train()
    assert not torch.equal(model(states(choice)), model(states(choice)))
    model.eval()
    assert torch.equal(model(states(choice)), model(states(choice)))


def test_each_switch_changes_what_it_names():
    """Only the modules of its own idea: everything else keeps its kind."""
    first = {name: values[0] for name, values in POSITIONS.items()}

    def kinds(choice: dict) -> set[str]:
        return {type(module).__name__ for module in switched(choice).modules()}

    expected = {
        "graph_attention": ({"GraphAttention"}, {"PairwiseAttention"}),
        "heterogeneous": ({"HeterogeneousAttention"}, {"HeterogeneousPairwise"}),
        "fusion": ({"AttentionFusion", "LayerNorm"}, {"MaxFusion"}),
        "readout": (set(), {"CosineReadout"}),
    }
    for name, (gone, come) in expected.items():
        before, after = kinds(first), kinds(first | {name: POSITIONS[name][1]})
        # What the two kinds of attention share (dictionaries of projections) may come and go with them.
        containers = {"ParameterDict", "MultiheadAttention", "NonDynamicallyQuantizableLinear"}
        assert before - after - containers == gone and after - before - containers == come, name


def test_members_start_apart_answer_apart_in_training_and_together_after():
    choice = {name: values[0] for name, values in POSITIONS.items()} | {"members": 2}
    model, given = switched(choice, dropout=0.0, attention_dropout=0.0), states(choice)
    apart = model.train()(given)
    assert apart.shape == (2, 3, 2) and not torch.allclose(apart[0], apart[1], atol=1e-3)
    model.eval()
    alone = [member(model.mix(given))[0] for member in model.members]
    torch.testing.assert_close(model(given), torch.stack(alone).mean(dim=0))
    torch.testing.assert_close(model.layer_weights(), torch.full((3,), 1 / 3))


def test_maps_have_the_shapes_they_say():
    _, maps = back_end().eval()(torch.randn(3, 3, 60, 16), return_attention=True)
    assert maps.temporal.shape == (3, 2, 20, 20) and maps.spectral.shape == (3, 2, 8, 8)
    assert maps.streams[1].first.shape == (3, 2, 10 + 4 + 1, 10 + 4)
    assert maps.fusion["temporal"].shape == (3, 2, 10, 10)


def fused_calls(model: torch.nn.Module) -> dict[str, int]:
    with torch.profiler.profile() as profile:
        model(torch.randn(2, 3, 60, 16)).sum().backward()
    return {event.key: event.count for event in profile.key_averages()}


def test_plain_training_step_runs_every_attention_in_the_fused_kernel():
    """2 graphs + 2 streams of 2 layers, each with a stack node's attention + 3 fusions."""
    calls = fused_calls(back_end(attention_dropout=0.0).train())
    assert calls["aten::_scaled_dot_product_flash_attention_for_cpu"] == 13
    assert "aten::_scaled_dot_product_attention_math" not in calls and "aten::_safe_softmax" not in calls


def test_attention_dropout_is_inside_the_standard_kernel():
    """The CPU's fused kernel has no dropout: SDPA itself then takes its plain form, and still nobody else forms weights. The
    two softmaxes left make the nodes; the layer mix's has its own, over three numbers. As published, attention by node type
    has no dropout on its weights, so its four layers keep the fused kernel."""
    off = {"dropout": 0.0, "pool_dropout": 0.0, "readout_dropout": 0.0}
    model = back_end(**off, attention_dropout=0.3).train()
    calls = fused_calls(model)
    assert calls["aten::_scaled_dot_product_flash_attention_for_cpu"] == 4
    assert calls["aten::_scaled_dot_product_attention_math"] == 9 and calls["aten::scaled_dot_product_attention"] == 13
    assert calls["aten::softmax"] == 9 + 3
    given = torch.randn(2, 3, 60, 16)
    assert not torch.equal(model(given), model(given)), "attention dropout must act"


def test_graph_attention_treats_nodes_as_a_set():
    layer = GraphAttention(8, 4, ModelConfig(heads=2, graph_dims=(8, 4))).eval()
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
    layer = HeterogeneousAttention(8, 4, ModelConfig(heads=2, graph_dims=(8, 4))).eval()
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


def test_states_of_one_layer_are_taken_as_they_are_unless_an_extra_is_on():
    given = torch.randn(2, 1, 60, 16) * 7
    for extra, expected in (({}, given[:, 0]), ({"layer_norm": True}, functional.layer_norm(given, (16,))[:, 0])):
        model = BackEnd(ModelConfig(**SMALL, **extra), layers=1, features=16)
        torch.testing.assert_close(model.mix(given), expected)
        assert torch.equal(model.layer_weights(), torch.ones(1))


def test_layers_are_mixed_as_they_are_or_each_normalised_first():
    given = torch.randn(2, 3, 60, 16) * torch.tensor([1.0, 10, 100]).view(1, 3, 1, 1)
    torch.testing.assert_close(LayerMix(3, 16, False, False)(given), given.mean(dim=1))
    torch.testing.assert_close(LayerMix(3, 16, True, False)(given), functional.layer_norm(given, (16,)).mean(dim=1))


def test_normalising_takes_away_what_all_frames_of_a_clip_share():
    states = 3 * torch.randn(2, 2, 60, 16) + torch.randn(2, 1, 1, 16)
    plain, normalised = (LayerMix(2, 16, True, normalise)(states) for normalise in (False, True))
    assert plain.mean(dim=1).abs().max() > 0.1
    torch.testing.assert_close(normalised.mean(dim=1), torch.zeros(2, 16), atol=1e-5, rtol=0)
    torch.testing.assert_close(normalised.std(dim=1), torch.ones(2, 16), atol=1e-2, rtol=0)
    assert torch.equal(LayerMix(2, 16, True, True)(states[:, :, :1]), torch.zeros(2, 1, 16)), "one frame"
