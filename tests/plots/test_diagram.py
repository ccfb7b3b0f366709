"""The model diagram, read back: every stage with its shape, the switches, the arrows."""

import pytest
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from aasist_lib import plots
from aasist_lib.config import FrontendConfig, LossConfig, ModelConfig
from tests.plots.looking import render, texts

ORIGINAL = {"graph_attention": "pairwise", "heterogeneous": "type_pairs", "fusion": "max", "activation": "selu"}


def shapes(**changes):
    """Of a small model: 9 temporal and 7 spectral nodes, 2 layers."""
    stream = [(4, 6), (3, 6), (1, 6)]
    found = {
        "frontend": [(2, 30, 12)], "backend.nodes.project": [(30, 21)], "backend.nodes.blocks": [(8, 7, 9)],
        "backend.nodes": [(7, 8), (9, 8), (7, 9), (9, 7)],
        "backend.graph_temporal": [(9, 10)], "backend.graph_spectral": [(7, 10)],
        "backend.pool_temporal": [(5, 10), (5,)], "backend.pool_spectral": [(3, 10), (3,)],
        "backend.streams.0.first": stream, "backend.streams.0": [(2, 6), (1, 6), (1, 6)],
        "backend.streams.1.first": stream, "backend.streams.1": [(2, 6), (1, 6), (1, 6)],
        "backend.fusion.temporal": [(4, 6)], "backend.fusion.spectral": [(2, 6)], "backend.fusion.stack": [(2, 6)],
        "backend.drop_readout": [(30,)], "backend.readout": [(2,)],
    }  # fmt: skip
    return found | changes


def draw(loss="hybrid", given=None, **model):
    frontend = model.pop("frontend", FrontendConfig(name="data/encoders/whisper-tiny.en", layer="weighted"))
    config = ModelConfig(samples=8000, frontend=frontend, **model)
    return plots.model_diagram(config, LossConfig(kind=loss), given or shapes(), "Small")


def written(figure):
    return [text.get_text() for text in figure.axes[0].texts]


def outlines(figure):
    return [patch.get_linestyle() for patch in figure.axes[0].patches if isinstance(patch, FancyBboxPatch)]


def test_every_stage_stands_with_the_shape_that_leaves_it():
    figure = draw()
    stages = dict(zip(written(figure)[::2], written(figure)[1::2], strict=True))
    assert stages == {
        "waveform": "8000 samples, 0.50 s",
        "front end: whisper-tiny.en, frozen": "2 layers × 30 frames × 12 features",
        "learned sum of the layers, projection": "30 frames × 21 features",
        "6 residual convolution blocks, GELU": "8 channels × 7 bands × 9 moments",
        "temporal nodes": "9 nodes × 8 features",
        "spectral nodes": "7 nodes × 8 features",
        "graph: multi-head attention": "7 nodes × 10, pooled to 3",
        "stream 1: Q and K by node type": "4 temporal + 3 spectral + 1 stack × 6",
        "stream 2: Q and K by node type": "4 temporal + 3 spectral + 1 stack × 6",
        "pooling and a second layer": "2 temporal + 1 spectral + 1 stack × 6",
        "fusion: attention over the nodes of both streams": "4 temporal + 2 spectral + 2 stack × 6",
        "largest magnitude and mean of either kind, stack nodes": "30 features",
        "linear readout": "2 logits: spoof, bona fide",
        "loss: cross-entropy, then focal": "in training only",
    }
    assert figure.axes[0].get_title("left") == "Small"
    assert texts(figure.legends[0]) == ["this work"]


def test_arrows_lead_from_the_first_box_to_the_last():
    arrows = [patch for patch in draw().axes[0].patches if isinstance(patch, FancyArrowPatch)]
    assert len(arrows) == 3 + 2 + 2 + 4 + 2 + 2 + 3, "down, apart, on, across, on, together, down"


@pytest.mark.parametrize(
    ("change", "text", "count"),
    [
        ({"graph_attention": "pairwise"}, "graph: pairwise attention", 2),
        ({"activation": "selu"}, "6 residual convolution blocks, SELU", 1),
        ({"heterogeneous": "type_pairs"}, "stream 1: a vector by pair of types", 4),
        ({"fusion": "max"}, "fusion: element-wise maximum", 1),
        ({"loss": "ce"}, "loss: weighted cross-entropy", 1),
        ({"frontend": FrontendConfig(name="owner/big", finetune="all")}, "front end: big, fine-tuned", 1),
    ],
)
def test_a_switch_in_its_original_position_is_named_and_marked(change, text, count):
    figure = draw(**change)
    assert text in written(figure)
    assert outlines(figure).count("--") == count
    assert texts(figure.legends[0]) == ["as original AASIST", "this work"]


def test_original_aasist_from_the_waveform_has_nothing_of_this_work():
    given = shapes(frontend=[(1, 2651, 23)])
    del given["backend.nodes.project"]
    figure = draw("ce", given, frontend=FrontendConfig(kind="sinc"), **ORIGINAL)
    assert texts(figure.legends[0]) == ["as original AASIST"]
    assert "front end: band-pass filters (sinc)" in written(figure) and "2651 frames × 23 features" in written(figure)
    assert not any("projection" in text for text in written(figure))


def test_what_is_neither_has_a_mark_of_its_own():
    figure = draw("focal", shapes(frontend=[(1, 30, 12)]), frontend=FrontendConfig(kind="lfcc"))
    assert outlines(figure).count(":") == 2
    assert texts(figure.legends[0]) == ["this work", "another choice"]


def test_members_and_normalisation_are_said():
    figure = draw(members=3, normalise=True)
    assert "linear readout, mean of 3 members" in written(figure)
    assert "learned sum of the layers, normalised over the clip, projection" in written(figure)


def test_boxes_do_not_overlap_and_hold_their_text():
    figure = draw(normalise=True, members=12)
    render(figure)
    (axes,) = figure.axes
    boxes = [patch.get_window_extent() for patch in axes.patches if isinstance(patch, FancyBboxPatch)]
    for number, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:number])
        for text in axes.texts[2 * number : 2 * number + 2]:
            inside = text.get_window_extent()
            assert box.x0 < inside.x0 and inside.x1 < box.x1 and box.y0 < inside.y0 and inside.y1 < box.y1, text.get_text()


def test_shapes_of_something_else_are_refused():
    with pytest.raises(plots.PlotError, match=r"backend\.nodes, .*cost\.shapes"):
        draw(given={"frontend": [(1, 2, 3)]})
