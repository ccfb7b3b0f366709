"""The benchmark of the back end compares equals, and the library's layout of images is the one it measures."""

import pytest
import torch

from aasist_lib.config import ModelConfig
from aasist_lib.models import BackEnd
from aasist_lib.models.paper import paper_state
from benchmarks.back_end import Convolutions, Unstacked, stored_bytes
from benchmarks.published import SMALL, PublishedBackEnd, made_input, without_dropout

CONFIG = ModelConfig(projection=SMALL["projection"], channels=SMALL["channels"], graph_dims=SMALL["dims"])


def states(frames: int = 60, batch: int = 4) -> torch.Tensor:
    return made_input(frames, batch, frames, SMALL["features"])[:, None]


@pytest.fixture
def model() -> BackEnd:
    torch.manual_seed(0)
    return BackEnd(CONFIG, layers=1, features=SMALL["features"])


@pytest.fixture
def published(model) -> Unstacked:
    """The published form with the same weights."""
    form = PublishedBackEnd(**SMALL)
    form.load_state_dict(paper_state(CONFIG, model))
    return Unstacked(form)


@pytest.mark.parametrize("frames", [3, 10, 60, 201])
def test_outputs_are_those_of_the_published_form_at_every_length(model, published, frames):
    """In double precision, where nothing but the algebra decides; in eval mode and in training form without dropout."""
    model, published, given = model.double(), published.double(), states(frames).double()
    torch.testing.assert_close(model.eval()(given), published.eval()(given), atol=1e-10, rtol=1e-8)
    without_dropout(model), without_dropout(published)
    torch.testing.assert_close(model(given), published(given), atol=1e-10, rtol=1e-8)


def test_little_more_is_stored_for_the_backward_pass_than_in_the_published_form(model, published):
    ours, theirs = stored_bytes(model, states(201)), stored_bytes(published, states(201))
    assert 1e6 < ours < 1.01 * theirs


def test_the_convolutions_alone_are_all_of_them_with_their_gradients(model):
    alone = Convolutions(model, frames=201, features=SMALL["features"])
    assert len(alone.layers) == 2 * 6 + 2 + 2
    alone(states()).sum().backward()
    assert all(image.grad is not None and image.grad.any() for image in alone.given)


def test_images_have_their_channels_last_all_the_way(model):
    layouts = {}

    def note(module, given, found):
        layouts[module] = (given[0].stride(1), found.stride(1))

    convolutions = [module for module in model.modules() if isinstance(module, torch.nn.Conv2d)]
    for module in convolutions:
        module.register_forward_hook(note)
    model.train()(states())
    assert len(layouts) == len(convolutions) == 2 * 6 + 2 + 2
    assert set(layouts.values()) == {(1, 1)}


@pytest.mark.parametrize("training", [False, True])
def test_the_input_is_not_overwritten(model, training):
    given = states()
    kept = given.clone()
    model.train(training)(given)
    assert torch.equal(given, kept)
