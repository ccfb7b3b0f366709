"""The back end as it is against its plain form, which `benchmarks/back_end.py` keeps: speed must not change what comes out."""

import copy
import io

import pytest
import torch
from torch.nn import functional

from aasist_lib.config import ModelConfig
from aasist_lib.models import BackEnd
from aasist_lib.models.nodes import GROUP, FeatureNodes, ResidualBlock
from benchmarks.back_end import WITHOUT, Convolutions, Paper, PlainBlock, PlainNodes, kept_bytes, plain, without

SMALL = {"projection": 24, "channels": (4, 8), "blocks": 4, "graph_dims": (8, 4), "heads": 2}
SWITCHES = [
    {"graph_attention": "multihead", "heterogeneous": "typed_qk", "fusion": "attention"},
    {"graph_attention": "pairwise", "heterogeneous": "type_pairs", "fusion": "max"},
]


def back_end(layers: int = 3, **settings) -> BackEnd:
    """Without dropout, and with statistics and weights of its norms as after training."""
    torch.manual_seed(0)
    model = BackEnd(ModelConfig(**(SMALL | {"dropout": 0.0, "attention_dropout": 0.0} | settings)), layers, features=16)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for tensor, low, high in ((module.weight, 0.5, 2), (module.bias, -1, 1)):
                torch.nn.init.uniform_(tensor, low, high)
            module.running_mean.uniform_(-0.5, 0.5)
            module.running_var.uniform_(0.5, 2)
    return model


def states(frames: int, batch: int = 5, layers: int = 3) -> torch.Tensor:
    return torch.randn(batch, layers, frames, 16, generator=torch.Generator().manual_seed(frames))


def step(model: BackEnd, given: torch.Tensor, rate: float = 1e-4) -> dict[str, torch.Tensor]:
    """One step of gradient descent on a loss that treats all logits differently; the gradients by name."""
    model.zero_grad()
    logits = model(given)
    (logits * torch.arange(1.0, logits.numel() + 1).view_as(logits)).sum().backward()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter -= rate * parameter.grad
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.grad is not None}


def test_the_plain_form_is_another_form():
    """Else every comparison here would be of a thing with itself."""
    model, reference = back_end(), plain(back_end())
    assert type(reference.members[0].nodes) is PlainNodes and type(reference.members[0].nodes.blocks[1]) is PlainBlock
    assert type(model.members[0].nodes) is FeatureNodes and type(model.members[0].nodes.blocks[1]) is ResidualBlock


@pytest.mark.parametrize("switches", SWITCHES, ids=lambda switches: switches["graph_attention"])
@pytest.mark.parametrize("members", [1, 3])
@pytest.mark.parametrize("frames", [3, 10, 60, 201])
def test_outputs_and_gradients_are_those_of_the_plain_form(switches, members, frames):
    """In double precision, where nothing but the algebra decides."""
    model = back_end(members=members, **switches).double()
    reference, given = plain(model), states(frames).double()
    for training in (False, True):
        model.train(training), reference.train(training)
        torch.testing.assert_close(model(given), reference(given), atol=1e-10, rtol=1e-8)
        ours, theirs = step(model, given, rate=0), step(reference, given, rate=0)
        assert ours.keys() == theirs.keys()
        for name, gradient in theirs.items():
            torch.testing.assert_close(ours[name], gradient, atol=1e-8 * (1 + float(gradient.abs().max())), rtol=0, msg=name)
    for (name, ours), theirs in zip(model.named_buffers(), reference.buffers(), strict=True):
        torch.testing.assert_close(ours, theirs, msg=name)


@pytest.mark.parametrize("frames", [3, 60, 201])
def test_single_precision_takes_other_kernels_to_the_same_result(frames):
    model, given = back_end(), states(frames, batch=8)
    reference = plain(model)
    torch.testing.assert_close(model.eval()(given), reference.eval()(given), atol=1e-5, rtol=0)
    theirs = step(reference, given, rate=0)
    for name, gradient in step(model, given, rate=0).items():
        torch.testing.assert_close(gradient, theirs[name], atol=1e-4 * (1 + float(theirs[name].abs().max())), rtol=0, msg=name)


def test_maps_and_gradients_to_the_input_are_those_of_the_plain_form():
    model = back_end().eval()
    ours, theirs = (form(states(60), return_attention=True)[1] for form in (model, plain(model)))
    for name in ("time_in_spectral", "frequency_in_temporal", "temporal", "spectral"):
        torch.testing.assert_close(getattr(ours, name), getattr(theirs, name), msg=name)
    assert ours.time_in_spectral.shape == (5, 8, 20) and ours.frequency_in_temporal.shape == (5, 20, 8)
    gradients = []
    for form in (model, plain(model)):
        given = states(60).requires_grad_()
        gradients.append(torch.autograd.grad(form(given)[:, 1].sum(), given)[0])
    torch.testing.assert_close(*gradients, atol=1e-6, rtol=1e-3)


@pytest.mark.parametrize("batch", [1, GROUP, GROUP + 1, 3 * GROUP + 1])
def test_clips_go_through_in_groups_outside_training_and_none_is_lost(batch):
    model, seen = back_end().eval(), []
    hook = model.members[0].nodes.blocks.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    given = states(60, batch=batch)
    together = model(given)
    assert max(seen) <= GROUP and sum(seen) == batch
    hook.remove()
    torch.testing.assert_close(together, torch.cat([model(clip) for clip in given.split(1)]), atol=1e-6, rtol=1e-5)


def test_a_training_step_takes_the_batch_as_a_whole():
    """Batch normalisation must see all of it."""
    model, seen = back_end().train(), []
    model.members[0].nodes.blocks.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    model(states(60, batch=3 * GROUP))
    assert seen == [3 * GROUP]


def test_eval_follows_the_weights_through_training():
    model = back_end().eval()
    reference, given = plain(model), states(60)
    before = model(given)
    for form in (model.train(), reference.train()):
        step(form, given)
    after = model.eval()(given)
    assert (after - before).abs().max() > 1e-3
    torch.testing.assert_close(after, reference.eval()(given), atol=1e-4, rtol=1e-4)


def test_images_have_their_channels_last_all_the_way():
    model, layouts = back_end().train(), {}

    def note(module, given, found):
        layouts[module] = (given[0].stride(1), found.stride(1))

    convolutions = [module for module in model.modules() if isinstance(module, torch.nn.Conv2d)]
    for module in convolutions:
        module.register_forward_hook(note)
    model(states(60))
    assert len(layouts) == len(convolutions) == 2 * 4 + 2 + 2
    assert set(layouts.values()) == {(1, 1)}


def test_the_input_is_left_as_it_was():
    """Overwriting is for tensors of the model's own."""
    model = back_end(layers=1)
    for training in (False, True):
        given = states(60, layers=1)
        kept = given.clone()
        model.train(training)(given)
        assert torch.equal(given, kept)


def test_less_is_kept_for_the_backward_pass():
    model, given = back_end(), states(201)
    assert kept_bytes(model, given) < 0.8 * kept_bytes(plain(model), given)


@pytest.mark.parametrize("frames", [3, 60, 201])
def test_scoring_without_gradients_gives_the_logits_of_the_plain_form(frames):
    model, given = back_end(members=2), states(frames, batch=9)
    with torch.inference_mode():
        torch.testing.assert_close(model.eval()(given), plain(model).eval()(given), atol=1e-5, rtol=0)


def test_one_layer_has_nothing_to_learn_and_its_weight_is_one():
    one, three = back_end(layers=1), back_end(layers=3)
    assert not one.mix.logits.requires_grad and three.mix.logits.requires_grad
    assert torch.equal(one.layer_weights(), torch.ones(1))
    given = states(60, layers=1)
    torch.testing.assert_close(one.mix(given), functional.layer_norm(given, (16,))[:, 0])
    assert "mix.logits" in one.state_dict()


def test_weights_travel_between_the_forms_by_the_same_names():
    model, reference = back_end(), plain(back_end())
    assert model.state_dict().keys() == reference.state_dict().keys()
    file = io.BytesIO()
    torch.save({name: tensor + 0.01 for name, tensor in reference.state_dict().items()}, file)
    file.seek(0)
    weights = torch.load(file)
    for form in (model, reference):
        form.load_state_dict(weights)
    given = states(60)
    torch.testing.assert_close(model.eval()(given), reference.eval()(given), atol=1e-5, rtol=0)
    assert {"members.0.nodes.attention.0.weight", "members.0.nodes.blocks.1.pre.0.weight", "mix.logits"} <= weights.keys()


@pytest.mark.parametrize("step_taken", WITHOUT)
def test_every_step_towards_speed_can_be_left_out(step_taken):
    """The benchmark's forms without one of them are other forms with the same results."""
    model, given = back_end(layers=1), states(60, layers=1, batch=9)
    form = without(model, step_taken)
    assert [type(module) for module in form.modules()] != [type(module) for module in model.modules()]
    for training in (False, True):
        model.train(training), form.train(training)
        torch.testing.assert_close(form(given), model(given), atol=1e-4, rtol=1e-4)


def test_the_benchmark_compares_equals():
    """The paper's form gives the same logits; the convolutions are all there, with their gradients."""
    model = back_end(layers=1).eval()
    given = functional.layer_norm(states(201, layers=1), (16,))
    torch.testing.assert_close(Paper(plain(model)).eval()(given), model(given), atol=1e-4, rtol=1e-4)
    alone = Convolutions(copy.deepcopy(model), frames=201, features=16)
    assert len(alone.layers) == 2 * 4 + 2 + 2
    alone(given).sum().backward()
    assert all(image.grad is not None and image.grad.any() for image in alone.given)
