"""Block diagram of the detector, drawn from its configuration and its layers' output shapes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Patch

from aasist_lib.config import LossConfig, ModelConfig

from .style import GREY, PALETTE, PlotError, make_figure, styled

Shapes = Mapping[str, list[tuple[int, ...]]]
POSITIONS = {  # position of a switch: name, colour, outline
    "original": ("as original AASIST", PALETTE[1], "--"),
    "here": ("this work", PALETTE[2], "-"),
    "other": ("another choice", PALETTE[4], ":"),
}
RATE = 16_000
MIDDLE, LEFT, RIGHT = 0.5, 0.25, 0.75
WIDE, HALF, HEIGHT = 0.72, 0.47, 0.66
FUSIONS = {
    "attention": ("fusion: attention over the nodes of both streams", "here"),
    "max": ("fusion: element-wise maximum", "original"),
}
GRAPHS = {"multihead": ("multi-head attention", "here"), "pairwise": ("pairwise attention", "original")}
STREAMS = {"typed_qk": ("Q and K by node type", "here"), "type_pairs": ("a vector by pair of types", "original")}
LOSSES = {
    "ce": ("loss: weighted cross-entropy", "original"),
    "hybrid": ("loss: cross-entropy, then focal", "here"),
    "focal": ("loss: focal", "other"),
    "oc_softmax": ("loss: OC-softmax", "other"),
}


@dataclass(frozen=True)
class Box:
    """A stage with its output shape, at position `x` in `row`.

    Arrows come from the boxes in the row above that are in the same column or in the middle. A box in the middle, or one with
    `joins`, gets arrows from all boxes in that row.
    """

    text: str
    shape: str
    x: float
    row: float
    switch: str | None = None
    joins: bool = False

    @property
    def width(self) -> float:
        """Width as a fraction of the figure's width."""
        return WIDE if self.x == MIDDLE else HALF

    def leads_to(self, below: Box) -> bool:
        """Return whether an arrow leads from this box to `below`."""
        return 0 < below.row - self.row < 1.5 and (below.joins or MIDDLE in (self.x, below.x) or self.x == below.x)


@styled
def model_diagram(config: ModelConfig, loss: LossConfig, shapes: Shapes, title: str = "The detector") -> Figure:
    """Draw the stages from waveform to loss with their output shapes; colours and outlines show how each switch is set.

    Args:
        config, loss: the profile's model and loss sections.
        shapes: module name -> shapes of its outputs without the batch dimension, from `cost.shapes(model, config.samples)`.

    Raises:
        PlotError: `shapes` lacks a required module.
    """
    if missing := [
        name for name in ("frontend", "backend.nodes", "backend.streams.1", "backend.readout") if name not in shapes
    ]:
        raise PlotError(f"no shapes of {', '.join(missing)}: pass the result of cost.shapes(model, config.samples)")
    boxes = _to_nodes(config, shapes)
    boxes += _graphs(config, shapes, boxes[-1].row + 1)
    boxes += _to_loss(config, loss, shapes, boxes[-1].row + 1)
    rows = 1 + boxes[-1].row
    figure, axes = make_figure(8.6, 0.68 * rows + 1.0)
    axes.axis("off")
    axes.set(xlim=(0, 1), ylim=(rows - 0.6, -0.5), title=title)
    for box in boxes:
        _draw_box(axes, box)
        for below in filter(box.leads_to, boxes):
            _draw_arrow(axes, box, below)
    used = [name for name in POSITIONS if any(box.switch == name for box in boxes)]
    figure.legend(handles=[_patch(name) for name in used], loc="outside lower left", ncols=4, title="Switches set to")
    return figure


def _to_nodes(config: ModelConfig, shapes: Shapes) -> list[Box]:
    """Return the boxes from the waveform to the nodes of both kinds."""
    front = config.frontend
    name, switch = {
        "encoder": (f"{front.name.rpartition('/')[2]}, {'fine-tuned' if front.finetune else 'frozen'}", "here"),
        "sinc": ("band-pass filters (sinc)", "original"),
        "lfcc": ("LFCC", "other"),
    }[front.kind]
    layers, frames, features = shapes["frontend"][0]
    states = (f"{layers} layers × " if layers > 1 else "") + f"{frames} frames × {features} features"
    boxes = [Box("waveform", f"{config.samples} samples, {config.samples / RATE:.2f} s", MIDDLE, 0)]
    boxes.append(Box(f"front end: {name}", states, MIDDLE, 1, "original" if front.finetune else switch))
    if front.kind != "sinc":
        parts = ["learned sum of the layers"] * (layers > 1) + ["normalised over the clip"] * config.normalise + ["projection"]
        shape = "{} frames × {} features".format(*shapes["backend.nodes.project"][0])
        boxes.append(Box(", ".join(parts), shape, MIDDLE, 2))
    image = "{} channels × {} bands × {} moments".format(*shapes["backend.nodes.blocks"][0])
    text = f"{config.blocks} residual convolution blocks, {config.activation.upper()}"
    switch = "original" if config.activation == "selu" else "here"
    boxes.append(Box(text, image, MIDDLE, len(boxes), switch))
    spectral, temporal = ("{} nodes × {} features".format(*shape) for shape in shapes["backend.nodes"][:2])
    row = len(boxes)
    return [*boxes, Box("temporal nodes", temporal, LEFT, row), Box("spectral nodes", spectral, RIGHT, row)]


def _graphs(config: ModelConfig, shapes: Shapes, row: float) -> list[Box]:
    """Return the boxes of attention and pooling in both graphs, then those of the two streams over both kinds of nodes."""
    (one, of_graph), (both, of_stream) = GRAPHS[config.graph_attention], STREAMS[config.heterogeneous]
    boxes = []
    for kind, x in (("temporal", LEFT), ("spectral", RIGHT)):
        (count, width), (kept, *_) = shapes[f"backend.graph_{kind}"][0], shapes[f"backend.pool_{kind}"][0]
        boxes.append(Box(f"graph: {one}", f"{count} nodes × {width}, pooled to {kept}", x, row, of_graph))
    for number, x in ((0, LEFT), (1, RIGHT)):
        first, last = (shapes[f"backend.streams.{number}{part}"] for part in (".first", ""))
        boxes.append(Box(f"stream {number + 1}: {both}", _nodes(first), x, row + 1.3, of_stream, joins=True))
        boxes.append(Box("pooling and a second layer", _nodes(last), x, row + 2.3, of_stream))
    return boxes


def _to_loss(config: ModelConfig, loss: LossConfig, shapes: Shapes, row: float) -> list[Box]:
    """Return the boxes of fusion, readout and loss."""
    fused = _nodes([shapes[f"backend.fusion.{kind}"][0] for kind in ("temporal", "spectral", "stack")])
    text, switch = FUSIONS[config.fusion]
    boxes = [Box(text, fused, MIDDLE, row, switch)]
    read = "{} features".format(*shapes["backend.drop_readout"][0])
    boxes.append(Box("largest magnitude and mean of either kind, stack nodes", read, MIDDLE, row + 1))
    members = f", mean of {config.members} members" if config.members > 1 else ""
    logits = "{} logits: spoof, bona fide".format(*shapes["backend.readout"][0])
    boxes.append(Box(f"{config.readout} readout{members}", logits, MIDDLE, row + 2))
    text, switch = LOSSES[loss.kind]
    return [*boxes, Box(text, "in training only", MIDDLE, row + 3, switch)]


def _nodes(kinds: list[tuple[int, ...]]) -> str:
    """Format node counts and their features: '25 temporal + 10 spectral + 1 stack × 16'."""
    counts = (f"{count} {name}" for (count, _), name in zip(kinds, ("temporal", "spectral", "stack"), strict=True))
    return f"{' + '.join(counts)} × {kinds[0][1]}"


def _draw_box(axes: Axes, box: Box) -> None:
    left, top = box.x - box.width / 2, box.row - HEIGHT / 2
    colour, line = POSITIONS[box.switch][1:] if box.switch else (GREY, "-")
    style: dict[str, Any] = {"facecolor": (*colour, 0.16) if box.switch else "0.97", "edgecolor": colour, "linestyle": line}
    rounded = "round,pad=0,rounding_size=0.012"
    axes.add_patch(FancyBboxPatch((left, top), box.width, HEIGHT, rounded, mutation_aspect=6, linewidth=1.6, **style))
    axes.text(box.x, box.row - 0.13, box.text, ha="center", va="center", fontsize="medium")
    axes.text(box.x, box.row + 0.16, box.shape, ha="center", va="center", fontsize="small", color=GREY)


def _draw_arrow(axes: Axes, above: Box, below: Box) -> None:
    """Draw an arrow between boxes in adjacent rows; it is slanted only if the boxes are in different side columns."""
    start, end = above.x, below.x
    if MIDDLE in (start, end):
        start = end = below.x if start == MIDDLE else start
    ends = (start, above.row + HEIGHT / 2), (end, below.row - HEIGHT / 2)
    axes.add_patch(FancyArrowPatch(*ends, arrowstyle="-|>", mutation_scale=10, color=GREY, shrinkA=0, shrinkB=0, linewidth=1.2))


def _patch(name: str) -> Patch:
    text, colour, line = POSITIONS[name]
    style: dict[str, Any] = {"edgecolor": colour, "linestyle": line}
    return Patch(facecolor=(*colour, 0.16), linewidth=1.6, label=text, **style)
