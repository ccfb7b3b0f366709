import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from aasist_lib.config import ModelConfig, project_root
from aasist_lib.models import AASIST, build_model
from aasist_lib.models.graph import GraphPool
from aasist_lib.models.original import (
    AASIST_L_CONFIG,
    NAMES,
    OfficialWeightsError,
    load_official_aasist,
    official_name,
)
from aasist_lib.models.pairwise import HeterogeneousPairwise, PairwiseAttention
from aasist_lib.models.sinc import SincFilters, mel_band_pass

SCALES = (0.01, 0.1, 0.3, 1.0)
"""Of the seeded noise; the seed is the place."""
LOGITS = {
    "AASIST": [(-2.991685, 1.700271), (2.364078, -2.556872), (4.115904, -4.267798), (15.186717, -14.411660)],
    "AASIST-L": [(-0.169323, 0.498832), (3.549480, -3.176665), (2.671942, -2.273690), (-3.872197, 4.635612)],
}
"""Of the official model, [spoof, bona fide] by seed."""
PARAMETERS = {"AASIST": 297_866, "AASIST-L": 85_306}
SHORTEST = 2315
"""Samples that leave one temporal node: 129 taps, then a frame of 3 samples for each of 3 ** 6 frames."""


@pytest.fixture(scope="module", params=sorted(LOGITS))
def official(request) -> AASIST:
    file = Path(__file__).parents[1] / "data" / f"{request.param}.pth"
    if not file.is_file():  # AASIST-L comes with the tests, the larger AASIST does not
        folder = Path(os.environ.get("AASIST_REFERENCE", project_root() / ".." / "shared" / "reference"))
        file = folder / "aasist" / f"{request.param}.pth"
    if not file.is_file():
        pytest.skip("no official weights: set AASIST_REFERENCE to the folder that holds aasist/")
    model = load_official_aasist(file)
    assert model.config == NAMES[request.param] and not model.training
    return model


def small(config=AASIST_L_CONFIG) -> AASIST:
    torch.manual_seed(0)
    return build_model(config).eval()


def name_of(model: AASIST) -> str:
    return next(name for name, config in NAMES.items() if config == model.config)


def official_state(model: AASIST) -> dict[str, torch.Tensor]:
    return {official_name(name): tensor for name, tensor in model.state_dict().items()}


def randomise_norm(layer) -> None:
    """Statistics and weights as after training, so that a norm left out or applied twice shows."""
    with torch.no_grad():
        for tensor in (layer.norm.running_mean, layer.norm.weight, layer.norm.bias):
            tensor.normal_()
        layer.norm.running_var.uniform_(0.5, 2)


@pytest.mark.parametrize("seed", range(4))
def test_official_weights_give_the_official_logits(official, seed):
    wave = (np.random.default_rng(seed).standard_normal(64_600) * SCALES[seed]).astype(np.float32)
    with torch.no_grad():
        logits = official(torch.from_numpy(wave).unsqueeze(0))
    expected = torch.tensor([LOGITS[name_of(official)][seed]])
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=0)


def test_the_discarded_norms_were_never_trained(official):
    """Why `PoolingBlock` may leave them out of its forward pass: the optimiser never moved them, their neighbours it did."""
    for block in official.backend.members[0].nodes.blocks[1:]:
        assert (block.unused_norm.weight == 1).all() and (block.unused_norm.bias == 0).all()
        assert block.unused_norm.num_batches_tracked > 0 and block.norm.weight.std() > 0


def test_published_streams_attend_to_every_node_alike(official):
    """Weight decay took their score vectors to nothing, so the logits above say nothing of how pairs are scored in the
    heterogeneous layers: `test_heterogeneous_attention_is_its_equation_node_by_node` does. The graphs before them do attend."""
    inputs, uneven = {}, {}
    layers = {n: m for n, m in official.named_modules() if isinstance(m, PairwiseAttention | HeterogeneousPairwise)}
    handles = [m.register_forward_pre_hook(lambda m, args: inputs.update({m: args})) for m in layers.values()]
    with torch.no_grad():
        official(0.1 * torch.randn(1, 64_600, generator=torch.Generator().manual_seed(0)))
        for handle in handles:
            handle.remove()
        for name, layer in layers.items():
            weights = layer(*inputs[layer][:-1], return_weights=True)[-1]
            uneven[name] = (weights * weights.shape[-1] - 1).abs().max().item()
    assert len(uneven) == 6
    for name, value in uneven.items():
        assert value < 1e-4 if "streams" in name else value > 0.05, (name, value)


@pytest.mark.parametrize("name", sorted(PARAMETERS))
def test_parameter_counts_are_the_published_ones(name):
    model = build_model(NAMES[name])
    assert sum(p.numel() for p in model.parameters()) == PARAMETERS[name]
    frozen = {n for n, p in model.named_parameters() if not p.requires_grad}
    assert frozen == {f"backend.members.0.nodes.blocks.{b}.unused_norm.{p}" for b in range(1, 6) for p in ("weight", "bias")}
    assert not any("filters" in key for key in model.state_dict())


@pytest.mark.parametrize("name", sorted(NAMES))
def test_loading_tells_the_sizes_apart_and_draws_no_random_numbers(name, tmp_path):
    model = small(NAMES[name])
    torch.save(official_state(model), tmp_path / "weights.pth")
    before = torch.get_rng_state()
    loaded = load_official_aasist(tmp_path / "weights.pth")
    assert torch.equal(torch.get_rng_state(), before)
    assert loaded.config == NAMES[name] and not loaded.training
    assert all(torch.equal(tensor, loaded.state_dict()[key]) for key, tensor in model.state_dict().items())


def test_names_of_the_official_state_dict():
    member = "backend.members.0"
    assert official_name(f"{member}.nodes.blocks.2.shortcut.weight") == "encoder.2.0.conv_downsample.weight"
    vectors = {"temporal": "11", "spectral": "22", "across": "12", "stack": "M"}  # the official type 1 is temporal
    for kind, official in vectors.items():
        assert official_name(f"{member}.streams.1.first.pair_vectors.{kind}") == f"HtrgGAT_layer_ST21.att_weight{official}"
    assert official_name(f"{member}.streams.0.pool_spectral.score.1.bias") == "pool_hS1.proj.bias"
    assert len(official_state(small())) == len(small().state_dict()) == 229


def test_weights_that_do_not_fit_are_refused_by_name(tmp_path):
    state = official_state(small())
    file = tmp_path / "weights.pth"

    def refused(**changes) -> str:
        torch.save({key: value for key, value in (state | changes).items() if value is not None}, file)
        with pytest.raises(OfficialWeightsError) as caught:
            load_official_aasist(file)
        return str(caught.value)

    assert "AASIST-L, 1 differences: missing GAT_layer_S.bn.weight" in refused(**{"GAT_layer_S.bn.weight": None})
    assert "unexpected epoch" in refused(epoch=torch.tensor(3))
    assert "master1 has shape (1, 24), not (1, 1, 24)" in refused(master1=torch.zeros(1, 24))
    both = refused(pos_S=None, pos_T=torch.zeros(1))
    assert "2 differences" in both and "missing pos_S" in both and "unexpected pos_T" in both


def test_files_that_are_no_weights_are_refused(tmp_path):
    file = tmp_path / "weights.pth"
    with pytest.raises(OfficialWeightsError, match="weights.pth: .*No such file"):
        load_official_aasist(file)
    for content in (b"", b"hello world", b"PK\x03\x04junk"):
        file.write_bytes(content)
        with pytest.raises(OfficialWeightsError, match="weights.pth: .*tensors alone"):
            load_official_aasist(file)
    torch.save(torch.nn.Linear(2, 2), file)  # a pickled object, which could run code
    with pytest.raises(OfficialWeightsError, match="weights.pth: .*tensors alone"):
        load_official_aasist(file)
    torch.save({"model": official_state(small())}, file)
    with pytest.raises(OfficialWeightsError, match="state dict"):
        load_official_aasist(file)


@pytest.mark.parametrize(("samples", "nodes"), [(SHORTEST, 1), (20_000, 9), (70_000, 31)])
def test_the_number_of_temporal_nodes_follows_the_input(samples, nodes):
    model, shapes = small(), []
    model.backend.members[0].graph_temporal.register_forward_pre_hook(lambda _, inputs: shapes.append(inputs[0].shape))
    with torch.no_grad():
        logits = model(torch.randn(1, samples))
    assert shapes == [(1, nodes, 24)]
    assert logits.shape == (1, 2) and torch.isfinite(logits).all()


@pytest.mark.parametrize(
    ("shape", "message"),
    [((20_000,), "batch, samples"), ((1, 1, 20_000), "batch, samples"), ((2, SHORTEST - 1), r" 729\b")],
)
def test_wrong_inputs_are_refused(shape, message):
    with pytest.raises(ValueError, match=message):
        small()(torch.randn(shape))


def test_a_clip_gets_the_same_logits_alone_and_in_a_batch():
    model, waves = small(), torch.randn(3, 12_000)
    with torch.no_grad():
        together, alone = model(waves), torch.cat([model(wave.unsqueeze(0)) for wave in waves])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)
    assert not torch.allclose(alone[0], alone[1], atol=1e-3)


def test_every_trainable_parameter_gets_a_gradient():
    """In eval mode: in train mode the batch norm after it cancels a bias."""
    model = small()
    model(torch.randn(2, 20_000)).square().sum().backward()
    without = [n for n, p in model.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())]
    assert not without


def test_eval_is_deterministic_and_train_is_not():
    model, waves = small(), torch.randn(2, 8_000)
    with torch.no_grad():
        assert torch.equal(model(waves), model(waves))
        model.train()
        assert not torch.equal(model(waves), model(waves))


def test_pairwise_attention_is_its_equation_node_by_node():
    torch.manual_seed(1)
    layer = PairwiseAttention(6, 4, ModelConfig(temperatures=(0.5, 9), activation="selu")).eval()
    randomise_norm(layer)
    nodes = torch.randn(2, 5, 6)
    with torch.no_grad():
        new, weights = layer(nodes, return_weights=True)
        for b in range(2):
            for n, node in enumerate(nodes[b]):
                scores = [layer.pair_vector[:, 0] @ torch.tanh(layer.pair(node * other)) / 0.5 for other in nodes[b]]
                expected = torch.stack(scores).softmax(0)
                torch.testing.assert_close(weights[b, 0, n], expected)
                mixed = sum(weight * other for weight, other in zip(expected, nodes[b], strict=True))
                before = layer.neighbours(mixed) + layer.itself(node)
                torch.testing.assert_close(new[b, n], functional.selu(layer.norm(before[None]))[0])
    assert layer(nodes)[1] is None


def test_heterogeneous_attention_is_its_equation_node_by_node():
    torch.manual_seed(2)
    layer = HeterogeneousPairwise(6, 4, ModelConfig(temperatures=(9, 0.5), activation="selu")).eval()
    randomise_norm(layer)
    temporal, spectral, shared = torch.randn(2, 4, 6), torch.randn(2, 3, 6), torch.randn(1, 1, 6)
    with torch.no_grad():
        new_temporal, new_spectral, new_stack, weights = layer(temporal, spectral, shared, return_weights=True)
        for b in range(2):
            nodes = [("temporal", layer.embed["temporal"](node)) for node in temporal[b]]
            nodes += [("spectral", layer.embed["spectral"](node)) for node in spectral[b]]
            everything = torch.stack([node for _, node in nodes])
            for n, (kind, node) in enumerate(nodes):
                scores = []
                for other_kind, other in nodes:
                    vector = layer.pair_vectors[kind if kind == other_kind else "across"][:, 0]
                    scores.append(vector @ torch.tanh(layer.pair(node * other)) / 0.5)
                expected = torch.stack(scores).softmax(0)
                torch.testing.assert_close(weights[b, 0, n], expected)
                before = layer.neighbours(expected @ everything) + layer.itself(node)
                new = torch.cat([new_temporal[b], new_spectral[b]])[n]
                torch.testing.assert_close(new, functional.selu(layer.norm(before[None]))[0])
            stack, vector = shared[0, 0], layer.pair_vectors["stack"][:, 0]
            scores = [vector @ torch.tanh(layer.stack_pair(node * stack)) / 0.5 for _, node in nodes]
            expected = torch.stack(scores).softmax(0)
            torch.testing.assert_close(weights[b, 0, -1], expected)
            gathered = layer.stack_neighbours(expected @ everything) + layer.stack_itself(stack)
            torch.testing.assert_close(new_stack[b, 0], gathered)


def test_pooling_keeps_the_nodes_in_order_of_their_score():
    """The maximum of the streams compares nodes by place, so the order is part of the official model."""
    pool = GraphPool(4, 0.7, 0.0).eval()
    nodes = torch.randn(2, 9, 4)
    scores = pool.score(nodes).squeeze(-1)
    assert torch.equal(pool(nodes)[1], scores.argsort(dim=1, descending=True)[:, :6])


def test_the_filters_share_out_the_spectrum():
    """Neighbouring bands meet: together the filters pass everything, each its own band and little else."""
    everything = torch.zeros(129)
    everything[64] = 1
    torch.testing.assert_close(mel_band_pass(70, 129, 16_000).sum(dim=0), everything, atol=1e-6, rtol=0)
    mel = np.linspace(0, 2595 * np.log10(1 + 8000 / 700), 9)
    edges = 700 * (10 ** (mel / 2595) - 1)
    response = torch.fft.rfft(mel_band_pass(8, 129, 16_000), 16_000).abs()  # a bin is 1 Hz
    for number in range(4, 8):  # the lower bands are narrower than what 129 taps can part
        low, high = edges[number : number + 2]
        assert response[number, round((low + high) / 2)] == pytest.approx(1, abs=0.02)
        assert response[number, : int(low) - 250].max() < 0.01
        assert number == 7 or response[number, int(high) + 250 :].max() < 0.01


def test_filters_give_the_largest_magnitude_of_three_filters_and_three_samples():
    wave = torch.randn(2, 200)
    frames = SincFilters()(wave)
    bands = functional.conv1d(wave[:, None], mel_band_pass(70, 129, 16_000)[:, None])
    assert frames.shape == (2, 1, 24, 23)
    torch.testing.assert_close(frames[1, 0, 2, 1], bands[1, 3:6, 6:9].abs().max())
