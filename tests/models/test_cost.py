"""Counts against arithmetic done by hand, shapes against a real pass."""

import pytest
import torch
from torch import nn

from aasist_lib.config import FrontendConfig, ModelConfig
from aasist_lib.models import build_model, cost
from tests.conftest import SAMPLES

ORIGINAL = {"graph_attention": "pairwise", "heterogeneous": "type_pairs", "fusion": "max"}


@pytest.fixture
def model(tiny_profile):
    return build_model(tiny_profile.model)


def test_parameters_are_those_with_and_without_a_gradient(model):
    found = cost.count_cost(model, SAMPLES)
    assert found.parameters_trained == sum(p.numel() for p in model.backend.parameters())
    assert found.parameters_frozen == sum(p.numel() for p in model.frontend.parameters()) > 0
    assert 0 < found.gflop_backend < found.gflop_frontend


def test_counting_leaves_the_model_as_it_was(model):
    model.train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    cost.count_cost(model, SAMPLES), cost.shapes(model, SAMPLES)
    assert model.training and not model.frontend.training
    assert all(tensor.device.type == "cpu" and torch.equal(tensor, before[n]) for n, tensor in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())


def test_operations_of_a_layer_are_two_a_multiply_add():
    layer, nodes = nn.Linear(32, 48), torch.empty(1, 7, 32, device="meta")
    assert cost._gflop(cost._on_meta(layer), nodes) == 2 * 7 * 32 * 48 / 1e9


def test_attention_s_products_are_counted():
    attention, nodes = nn.MultiheadAttention(16, 2, batch_first=True), torch.empty(1, 10, 16, device="meta")
    counted = 1e9 * cost._gflop(_Itself(cost._on_meta(attention)), nodes)
    projections, products = 2 * 10 * 16 * (3 * 16 + 16), 2 * 2 * 10 * 10 * 16
    assert counted == projections + products


class _Itself(nn.Module):
    def __init__(self, attention):
        super().__init__()
        self.attention = attention

    def forward(self, nodes):
        return self.attention(nodes, nodes, nodes, need_weights=False)[0]


def test_twice_the_audio_costs_about_twice(model):
    short, long = (cost.count_cost(model, samples) for samples in (SAMPLES, 2 * SAMPLES))
    assert long.parameters_trained == short.parameters_trained
    assert 1.9 < long.gflop_frontend / short.gflop_frontend < 2.3 and 1.7 < long.gflop_backend / short.gflop_backend < 2.3


def test_the_full_sizes_are_those_that_are_quoted():
    found = cost.cost_table().set_index("model")
    assert found.loc["XLS-R 300M, the encoder", "parameters"] == 315_438_720
    assert found.loc["XLS-R 300M, the encoder", "GFLOP"] == pytest.approx(145 + 4.0, abs=0.3)
    assert found.loc["original back end, behind the encoder", "parameters"] == pytest.approx(447e3, abs=500)
    assert found.loc["original AASIST, from the waveform", "parameters"] == pytest.approx(298e3, abs=500)
    assert found.loc["original AASIST-L, from the waveform", "parameters"] == pytest.approx(85e3, abs=500)
    assert found.loc["back end of the paper, behind the encoder", "GFLOP"] == pytest.approx(1.4, abs=0.1)
    assert found["quoted parameters"].notna().sum() == 4 and found["quoted GFLOP"].notna().sum() == 2


@pytest.mark.parametrize("changes", [{}, ORIGINAL, {"members": 2}])
def test_shapes_are_those_of_a_real_pass(tiny_profile, changes):
    model = build_model(ModelConfig.model_validate(tiny_profile.model.model_dump() | changes)).eval()
    found = cost.shapes(model, SAMPLES)
    wave = torch.randn(1, SAMPLES)
    states = model.frontend(wave)
    logits, maps = model(wave, return_attention=True)
    assert found["frontend"] == [tuple(states.shape[1:])]
    assert found["backend.nodes"][1][0] == maps.temporal.shape[-1]
    assert found["backend.graph_spectral"][0][0] == maps.spectral.shape[-1]
    assert found["backend.pool_temporal"][0][0] == maps.kept_temporal.shape[-1]
    assert found["backend.streams.1.pool_spectral"][0][0] == maps.streams[1].kept_spectral_second.shape[-1]
    assert found["backend.readout"] == [tuple(logits.shape[1:])]


@pytest.mark.parametrize("kind", ["sinc", "lfcc"])
def test_front_ends_without_parameters_are_counted_too(tiny_profile, kind):
    config = tiny_profile.model.model_copy(update={"frontend": FrontendConfig(kind=kind)})
    model, samples = build_model(config), 16_000
    found = cost.count_cost(model, samples)
    assert found.parameters_trained == sum(p.numel() for p in model.backend.parameters() if p.requires_grad)
    assert found.gflop_backend > 0
    assert cost.shapes(model, samples)["frontend"] == [tuple(model.frontend(torch.randn(1, samples)).shape[1:])]
