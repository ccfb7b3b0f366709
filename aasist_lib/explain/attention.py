"""From attention maps to places in a clip: every map as a curve over seconds, and over feature bands or Hz.

A temporal node is `NODE_STRIDE` encoder frames (60 ms with a 20 ms encoder, 30 ms with LFCC), or
`3 ** (blocks + 1)` samples with sinc filters. A peak says where the node sits, not that nothing else was heard:
`receptive_field` says how far it hears.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from aasist_lib.audio import RATE
from aasist_lib.models import AASIST, AttentionMaps, StreamMaps
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
"""The attention curves, in the order of a forward pass, and what each one is."""


@dataclass(frozen=True)
class ReceptiveField:
    """How much of a clip a temporal node can hear, in seconds; None = the whole clip.

    `node` is what the node stands for, `back_end` what reaches it through the back end's convolutions, `front_end` what
    reaches one frame: a transformer encoder mixes the whole clip into each.
    """

    node: float
    back_end: float
    front_end: float | None


@dataclass(frozen=True)
class ClipAttention:
    """One clip's attention over its nodes; every curve sums to 1.

    `seconds (T + 1,)` are the edges of the temporal nodes. `time` and `bands` hold a curve for each name of `CURVES`: over
    temporal nodes `(T,)` and over spectral nodes `(S,)`. Nodes that pooling dropped have 0 in 'streams' and 'stack', which
    are over the nodes left. `stack_time_share` is the share of the stack nodes' attention that goes to temporal nodes.
    """

    score: float
    seconds: np.ndarray
    time: dict[str, np.ndarray]
    bands: dict[str, np.ndarray]
    stack_time_share: float


@torch.inference_mode()
def explain_clip(model: AASIST, wave: np.ndarray) -> ClipAttention:
    """Attention of a trained detector on one waveform `(samples,)` at 16 kHz, already cropped to the length wanted."""
    device = next(model.backend.parameters()).device
    logits, maps = model.eval()(torch.from_numpy(wave)[None].to(device), return_attention=True)
    score = float(logits[0, 1] - logits[0, 0])
    return clip_attention(maps, score, node_seconds(model, len(wave), maps.temporal.shape[-1]))


def clip_attention(maps: AttentionMaps, score: float, seconds: np.ndarray, item: int = 0) -> ClipAttention:
    """Reduce one batch item's maps to curves.

    Args:
        maps: of a forward pass.
        score: the item's log-odds.
        seconds: edges of the temporal nodes, as `node_seconds` gives them.
        item: which clip of the batch.
    """
    time, bands = (
        {name: curve[item].cpu().numpy() for name, curve in curves(maps).items()} for curves in (time_curves, band_curves)
    )
    shares = [stack_attention(member, stream)[0][item].sum() for member in maps.members for stream in member.streams]
    return ClipAttention(score, seconds, time, bands, float(torch.stack(shares).mean()))


def time_curves(maps: AttentionMaps) -> dict[str, Tensor]:
    """For each name of `CURVES` a curve over temporal nodes, `(batch, T)`, not negative, summing to 1.

    Means over heads, streams and members.
    """
    return _mean_curves(maps, "temporal")


def band_curves(maps: AttentionMaps) -> dict[str, Tensor]:
    """As `time_curves`, over spectral nodes, `(batch, S)`: bands of features, or of frequency with sinc filters."""
    return _mean_curves(maps, "spectral")


def stack_attention(maps: AttentionMaps, stream: StreamMaps) -> tuple[Tensor, Tensor]:
    """The stack node's attention in a stream's first layer, averaged over heads and laid over *all* nodes.

    Returns:
        `(batch, T)` and `(batch, S)`; together they sum to 1 for each clip.
    """
    return _over_all_nodes(maps, stream.first[:, :, -1].mean(dim=1))


def node_seconds(model: AASIST, samples: int, nodes: int) -> np.ndarray:
    """Edges of the temporal nodes in seconds, `(nodes + 1,)`; what is left over at the end of a clip belongs to none.

    Args:
        model: says how many samples a node spans.
        samples: of the waveform.
        nodes: how many temporal nodes its maps have.
    """
    return np.minimum(np.arange(nodes + 1) * _node_samples(model), samples) / RATE


def receptive_field(model: AASIST) -> ReceptiveField:
    """How far a temporal node hears. Clip-wise normalisation (`model.normalise`), which all nodes share, is not counted."""
    blocks, kind = model.config.blocks, model.config.frontend.kind
    if kind == "sinc":
        frames = 1
        for _ in range(blocks):
            frames = BLOCK_POOL * frames + 4
        taps = SincFilters.SETTINGS["taps"]
        return ReceptiveField(_node_samples(model) / RATE, frames * model.frontend.stride / RATE, (taps + 2) / RATE)
    # Each block has two convolutions of width 3: two nodes more on either side.
    back_end = (1 + 4 * blocks) * _node_samples(model) / RATE
    front_end = None
    if kind == "lfcc":
        settings = LFCC.SETTINGS
        front_end = (settings["window"] + 2 * settings["deltas"] * settings["hop"]) / RATE
    return ReceptiveField(_node_samples(model) / RATE, back_end, front_end)


def band_hertz(model: AASIST) -> np.ndarray | None:
    """Edges of the spectral nodes in Hz, `(S + 1,)`: of sinc filters. None for bands of features, which have no frequency."""
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
    """Attention `(batch, kept temporal + kept spectral)` laid over all nodes, `(batch, T)` and `(batch, S)`."""
    count = maps.kept_temporal.shape[1]
    time = row.new_zeros(len(row), maps.temporal.shape[-1]).scatter(1, maps.kept_temporal, row[:, :count])
    band = row.new_zeros(len(row), maps.spectral.shape[-1]).scatter(1, maps.kept_spectral, row[:, count:])
    return time, band


def _survived(maps: AttentionMaps, kind: str) -> Tensor:
    """Poolings survived by each node, `(batch, nodes)`: 0, 1 (the graph's), up to 1 + streams."""
    kept, everything = getattr(maps, f"kept_{kind}"), getattr(maps, kind)
    counts = torch.ones(kept.shape, device=kept.device)
    for stream in maps.streams:
        again = getattr(stream, f"kept_{kind}_second")
        counts = counts.scatter_add(1, again, torch.ones(again.shape, device=kept.device))
    return counts.new_zeros(len(kept), everything.shape[-1]).scatter(1, kept, counts)
