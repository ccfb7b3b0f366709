"""Convert attention maps to curves over seconds, and over feature bands or Hz.

A temporal node spans `NODE_STRIDE` encoder frames (60 ms with a 20 ms encoder, 30 ms with LFCC), or
`3 ** (blocks + 1)` samples with sinc filters. A peak shows the position of a node. The node also receives information from
its surroundings: `receptive_field` returns from how much of the clip.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from aasist_lib.audio import RATE
from aasist_lib.models import AASIST, AttentionMaps, StreamMaps, log_odds
from aasist_lib.models.lfcc import LFCC
from aasist_lib.models.nodes import NODE_STRIDE
from aasist_lib.models.nodes import POOL as BLOCK_POOL
from aasist_lib.models.sinc import POOL as FILTERS_A_BAND
from aasist_lib.models.sinc import SincFilters, mel_edges

CURVES = {
    "nodes": "the frames from which the nodes of the other type are built (attention that makes the nodes)",
    "graph": "the graph attention that a node receives from the nodes of its type",
    "pooling": "the number of pooling steps that the node survives: the graph's, then each stream's",
    "streams": "the heterogeneous attention that a node receives from all nodes, in the streams' first layer",
    "stack": "the attention of the stack nodes, which collect information for the readout",
}
"""The attention curves, in the order of a forward pass, with a description of each."""


@dataclass(frozen=True)
class ReceptiveField:
    """Receptive field of a temporal node, in seconds; None = the whole clip.

    `node` is the span of the node itself, `back_end` the span that reaches it through the back end's convolutions, and
    `front_end` the span that reaches one frame. A transformer encoder mixes the whole clip into each frame.
    """

    node: float
    back_end: float
    front_end: float | None


@dataclass(frozen=True)
class ClipAttention:
    """One clip's attention over its nodes; every curve sums to 1.

    `seconds (T + 1,)` are the edges of the temporal nodes. `time` and `bands` hold one curve for each name in `CURVES`, over
    temporal nodes `(T,)` and over spectral nodes `(S,)`. 'streams' and 'stack' only cover the nodes that remain after
    pooling: dropped nodes have 0. `stack_time_share` is the share of the stack nodes' attention that goes to temporal nodes.
    """

    score: float
    seconds: np.ndarray
    time: dict[str, np.ndarray]
    bands: dict[str, np.ndarray]
    stack_time_share: float


@torch.inference_mode()
def explain_clip(model: AASIST, wave: np.ndarray) -> ClipAttention:
    """Return the attention of a trained detector on one waveform `(samples,)` at 16 kHz, cropped to the wanted length."""
    logits, maps = model.eval()(torch.from_numpy(wave)[None].to(model.device), return_attention=True)
    return clip_attention(maps, float(log_odds(logits)[0]), node_seconds(model, len(wave), maps.temporal.shape[-1]))


def clip_attention(maps: AttentionMaps, score: float, seconds: np.ndarray, item: int = 0) -> ClipAttention:
    """Reduce the maps of one batch item to curves.

    Args:
        maps: the attention maps of a forward pass.
        score: the item's log-odds.
        seconds: edges of the temporal nodes, as returned by `node_seconds`.
        item: index of the clip in the batch.
    """
    time, bands = (
        {name: curve[item].cpu().numpy() for name, curve in curves(maps).items()} for curves in (time_curves, band_curves)
    )
    shares = [stack_attention(member, stream)[0][item].sum() for member in maps.members for stream in member.streams]
    return ClipAttention(score, seconds, time, bands, float(torch.stack(shares).mean()))


def time_curves(maps: AttentionMaps) -> dict[str, Tensor]:
    """Return one curve over temporal nodes for each name in `CURVES`: `(batch, T)`, non-negative, summing to 1.

    The curves are means over heads, streams and ensemble members.
    """
    return _mean_curves(maps, "temporal")


def band_curves(maps: AttentionMaps) -> dict[str, Tensor]:
    """As `time_curves`, over spectral nodes, `(batch, S)`: feature bands, or frequency bands with sinc filters."""
    return _mean_curves(maps, "spectral")


def stack_attention(maps: AttentionMaps, stream: StreamMaps) -> tuple[Tensor, Tensor]:
    """Return the stack node's attention in a stream's first layer, averaged over heads, with 0 for dropped nodes.

    Returns:
        `(batch, T)` and `(batch, S)` over *all* nodes; together they sum to 1 for each clip.
    """
    return _over_all_nodes(maps, stream.first[:, :, -1].mean(dim=1))


def node_seconds(model: AASIST, samples: int, nodes: int) -> np.ndarray:
    """Return the edges of the temporal nodes in seconds, `(nodes + 1,)`. Samples left over at the end belong to no node.

    Args:
        model: the detector, which determines how many samples a node spans.
        samples: length of the waveform.
        nodes: number of temporal nodes in the maps.
    """
    return np.minimum(np.arange(nodes + 1) * _node_samples(model), samples) / RATE


def receptive_field(model: AASIST) -> ReceptiveField:
    """Return the receptive field of a temporal node. Normalisation over the whole clip (`model.normalise`) is not counted."""
    blocks, kind = model.config.blocks, model.config.frontend.kind
    if kind == "sinc":
        frames = 1
        for _ in range(blocks):
            frames = BLOCK_POOL * frames + 4
        taps = SincFilters.SETTINGS["taps"]
        return ReceptiveField(_node_samples(model) / RATE, frames * model.frontend.stride / RATE, (taps + 2) / RATE)
    # Each block has two convolutions of width 3, which add two nodes on either side.
    back_end = (1 + 4 * blocks) * _node_samples(model) / RATE
    front_end = None
    if kind == "lfcc":
        settings = LFCC.SETTINGS
        front_end = (settings["window"] + 2 * settings["deltas"] * settings["hop"]) / RATE
    return ReceptiveField(_node_samples(model) / RATE, back_end, front_end)


def band_hertz(model: AASIST) -> np.ndarray | None:
    """Return the edges of the spectral nodes in Hz, `(S + 1,)`, for sinc filters; None for feature bands."""
    if model.config.frontend.kind != "sinc":
        return None
    settings = SincFilters.SETTINGS
    edges = mel_edges(settings["filters"], settings["sample_rate"]).numpy()
    return edges[: model.frontend.features * FILTERS_A_BAND + 1 : FILTERS_A_BAND]


def _node_samples(model: AASIST) -> int:
    frames = BLOCK_POOL**model.config.blocks if model.config.frontend.kind == "sinc" else NODE_STRIDE
    return frames * model.frontend.stride


def _mean_curves(maps: AttentionMaps, kind: str) -> dict[str, Tensor]:
    parts = [_member_curves(member, kind) for member in maps.members]
    curves = {name: torch.stack([part[name] for part in parts]).mean(dim=0) for name in CURVES}
    return {name: curve / curve.sum(dim=1, keepdim=True).clamp(min=1e-12) for name, curve in curves.items()}


def _member_curves(maps: AttentionMaps, kind: str) -> dict[str, Tensor]:
    which = 0 if kind == "temporal" else 1
    read = maps.time_in_spectral if kind == "temporal" else maps.frequency_in_temporal
    received = [_over_all_nodes(maps, stream.first[:, :, :-1].mean(dim=(1, 2)))[which] for stream in maps.streams]
    stack = [stack_attention(maps, stream)[which] for stream in maps.streams]
    return {
        "nodes": read.mean(dim=1),
        "graph": getattr(maps, kind).mean(dim=(1, 2)),
        "pooling": _survived(maps, kind),
        "streams": torch.stack(received).mean(dim=0),
        "stack": torch.stack(stack).mean(dim=0),
    }


def _over_all_nodes(maps: AttentionMaps, row: Tensor) -> tuple[Tensor, Tensor]:
    """Spread attention `(batch, kept temporal + kept spectral)` over all nodes, `(batch, T)` and `(batch, S)`, 0 if dropped."""
    count = maps.kept_temporal.shape[1]
    time = row.new_zeros(len(row), maps.temporal.shape[-1]).scatter(1, maps.kept_temporal, row[:, :count])
    band = row.new_zeros(len(row), maps.spectral.shape[-1]).scatter(1, maps.kept_spectral, row[:, count:])
    return time, band


def _survived(maps: AttentionMaps, kind: str) -> Tensor:
    """Return the number of pooling steps that each node survives, `(batch, nodes)`: 0, 1 (the graph's), up to 1 + streams."""
    kept, everything = getattr(maps, f"kept_{kind}"), getattr(maps, kind)
    counts = torch.ones(kept.shape, device=kept.device)
    for stream in maps.streams:
        again = getattr(stream, f"kept_{kind}_second")
        counts = counts.scatter_add(1, again, torch.ones(again.shape, device=kept.device))
    return counts.new_zeros(len(kept), everything.shape[-1]).scatter(1, kept, counts)
