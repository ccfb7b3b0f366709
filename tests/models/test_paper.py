"""The paper's back end: equal to the published form on golden values, its weights in the published names, and errors."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from aasist_lib.config import ModelConfig, load_profile, project_root
from aasist_lib.models import BackEnd, OfficialWeightsError, build_model, load_paper_back_end
from aasist_lib.models.checkpoints import export_paper
from aasist_lib.models.paper import SWITCHES, paper_name, paper_state
from benchmarks import published

SMALL = Path(__file__).parents[1] / "data" / "paper_back_end"
REFERENCE = (
    Path(os.environ.get("AASIST_REFERENCE", project_root() / ".." / "shared" / "reference")) / "paper" / "back_end_seeded"
)
"""Seeded weights at full size and what the paper's own code gives; 2.3 MB, not in the repository."""
OURS = {
    "feature_proj": "nodes.project", "encoder": "nodes.blocks", "attention": "nodes.attention",
    "gat_S": "graph_spectral", "gat_T": "graph_temporal", "pool_S": "pool_spectral", "pool_T": "pool_temporal",
    "norm_S": "fusion.spectral.norm", "norm_T": "fusion.temporal.norm", "norm_master": "fusion.stack.norm",
} | {
    f"hgat_streams.{stream}.{theirs}": f"streams.{stream}.{ours}"
    for stream in (0, 1)
    for theirs, ours in (("hgat1", "first"), ("hgat2", "second"), ("pool_hS", "pool_spectral"), ("pool_hT", "pool_temporal"))
}  # fmt: skip
"""The published name of a module -> ours."""


@pytest.fixture(params=[SMALL, REFERENCE], ids=["small", "full size"])
def golden(request) -> tuple[Path, dict]:
    """A file of weights, and what the published code gives with them."""
    if not request.param.with_suffix(".json").is_file():
        pytest.skip("no reference values: set AASIST_REFERENCE to the folder that holds paper/")
    return request.param.with_suffix(".safetensors"), json.loads(request.param.with_suffix(".json").read_text())


def given(facts: dict, features: int) -> torch.Tensor:
    return published.made_input(facts["seed"], facts["batch"], facts["frames"], features)


def features_of(model: BackEnd) -> int:
    return model.members[0].nodes.project.in_features


@pytest.mark.parametrize("shape", published.INPUTS)
def test_logits_are_those_of_the_published_code(golden, shape):
    file, values = golden
    model = load_paper_back_end(file)
    with torch.no_grad():
        logits = model(given(values[shape], features_of(model))[:, None])
    torch.testing.assert_close(logits, torch.tensor(values[shape]["logits"]), atol=1e-5, rtol=0)


def test_values_inside_are_those_of_the_published_code(golden):
    file, values = golden
    model = load_paper_back_end(file)
    names = {name: f"members.0.{OURS[name]}" for name in published.INSIDE}
    found = published.inside(model, given(values["0"], features_of(model))[:, None], names)
    assert found.keys() == values["0"]["inside"].keys()
    for name, expected in values["0"]["inside"].items():
        value = published.summary(found[name])
        assert value["shape"] == expected["shape"], name
        for key in ("mean", "std", "first"):
            np.testing.assert_allclose(value[key], expected[key], atol=1e-4, err_msg=f"{name}: {key}")


def test_a_training_step_is_that_of_the_published_code(golden):
    """Without dropout: logits with the statistics of the batch, the loss, and the norm of every gradient."""
    file, values = golden
    expected = values["train"]
    model = published.without_dropout(load_paper_back_end(file)).double()
    logits = model(given(expected, features_of(model))[:, None].double())
    torch.testing.assert_close(logits, torch.tensor(expected["logits"], dtype=torch.float64), atol=1e-4, rtol=0)
    loss = torch.nn.functional.cross_entropy(logits, torch.tensor(expected["labels"]))
    assert loss.item() == pytest.approx(expected["cross_entropy"], abs=1e-5)
    loss.backward()
    norms = {paper_name(name): parameter.grad.norm().item() for name, parameter in model.named_parameters()}
    assert norms.keys() == expected["grad_norms"].keys()
    for name, norm in norms.items():  # a bias before a batch norm has the gradient 0, up to rounding
        assert norm == pytest.approx(expected["grad_norms"][name], rel=1e-3, abs=1e-5), name


def test_the_default_has_the_published_size_and_dropout():
    model = BackEnd(ModelConfig(), layers=1, features=1024)
    assert sum(parameter.numel() for parameter in model.parameters()) == 576_202

    def dropouts(form: torch.nn.Module) -> list[float]:
        drops = [m.p for m in form.modules() if isinstance(m, torch.nn.Dropout)]
        return sorted(drops), sorted(m.dropout for m in form.modules() if isinstance(m, torch.nn.MultiheadAttention))

    # The published code has one module for the dropout before the fusion, and so has ours.
    assert dropouts(model) == dropouts(published.PublishedBackEnd(**published.SIZES))


def test_the_paper_s_profile_has_the_published_network():
    model = load_profile("paper").model
    assert {key: getattr(model, key) for key in SWITCHES} == SWITCHES
    assert model.model_dump(exclude={"frontend"}) == ModelConfig().model_dump(exclude={"frontend"})
    assert model.frontend.layer == "last" and model.frontend.finetune == 0


def test_weights_saved_in_the_published_names_are_those_loaded(golden, tmp_path):
    file, _ = golden
    weights = load_file(file)
    model = load_paper_back_end(file)
    state = paper_state(ModelConfig(), model)
    assert state.keys() == weights.keys() and all(torch.equal(state[name], weights[name]) for name in weights)
    published.PublishedBackEnd(**(published.SMALL if file.is_relative_to(SMALL.parent) else published.SIZES)).load_state_dict(
        state
    )


def test_a_trained_detector_is_exported_and_loaded_again(tiny_profile, tmp_path):
    other = {"readout": "linear", "layer_norm": False, "normalise": False, "members": 1, "blocks": 6, "heads": 4}
    front = tiny_profile.model.frontend.model_copy(update={"layer": "last", "max_layer": None})
    model = build_model(tiny_profile.model.model_copy(update={**other, "frontend": front}))
    with torch.no_grad():
        for parameter in model.backend.parameters():
            parameter += 0.01
    loaded = load_paper_back_end(export_paper(model, tmp_path / "exported.safetensors"))
    assert loaded.state_dict().keys() == model.backend.state_dict().keys()
    assert all(torch.equal(tensor, model.backend.state_dict()[name]) for name, tensor in loaded.state_dict().items())
    waves = 0.1 * torch.randn(2, 8000)
    with torch.no_grad():
        assert torch.equal(loaded(model.frontend(waves)), model.eval()(waves))


@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
def test_an_encoder_in_the_file_is_left_out(tmp_path, suffix):
    weights = load_file(SMALL.with_suffix(".safetensors"))
    whole = {f"module_of_the_encoder.encoder.layers.{n}.attention.k_proj.weight": torch.ones(2, 2) for n in range(3)}
    whole |= {"module_of_the_encoder.feature_extractor.conv.weight": torch.ones(3)} | weights
    file = tmp_path / f"whole.{suffix}"
    save_file(whole, file) if suffix == "safetensors" else torch.save(whole, file)
    state = load_paper_back_end(file).state_dict()
    assert all(torch.equal(state[name], weights[paper_name(name)]) for name in state)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda w: w.pop("gat_S.mha.out_proj.bias"), "missing gat_S.mha.out_proj.bias"),
        (lambda w: w.update(extra=torch.ones(1)), "unexpected extra"),
        (lambda w: w.update({"pos_S": torch.ones(1, 3, 8)}), "pos_S has shape"),
        (lambda w: w.pop("feature_proj.weight"), "feature_proj.weight"),
        (lambda w: w.update({"gat_S.proj_with_att.weight": torch.ones(7, 8)}), "graph_dims"),
        (lambda w: w.update({"feature_proj.weight": torch.ones(7)}), "tensors"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_with_the_tensor(tmp_path, change, named):
    weights = load_file(SMALL.with_suffix(".safetensors"))
    change(weights)
    save_file(weights, file := tmp_path / "other.safetensors")
    with pytest.raises(OfficialWeightsError, match=named) as error:
        load_paper_back_end(file)
    assert str(file) in str(error.value)


def test_a_missing_or_damaged_file_is_an_error_with_its_path(tmp_path):
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(b"12345678 not a header")
    for file in (tmp_path / "none.safetensors", tmp_path / "none.pth", damaged):
        with pytest.raises(OfficialWeightsError, match=file.name):
            load_paper_back_end(file)


@pytest.mark.parametrize("key", ["graph_attention", "heterogeneous", "fusion", "activation", "members", "layer_norm"])
def test_another_form_has_no_published_names(key):
    other = {
        "graph_attention": "pairwise", "heterogeneous": "type_pairs", "fusion": "max", "activation": "selu", "members": 2,
        "layer_norm": True,
    }  # fmt: skip
    config = ModelConfig(**{key: other[key]})
    with pytest.raises(OfficialWeightsError, match=key):
        paper_state(config, BackEnd(config, layers=1, features=16))
