"""From attention maps to places in a clip: node weights over seconds and over feature bands.

A temporal node is `NODE_STRIDE` encoder frames (60 ms with a 20 ms encoder, 72 ms with Moonshine, 30 ms with LFCC), or
`3 ** (blocks + 1)` samples with sinc filters; nodes share the clip evenly, which at the end of a 4 s clip is off by one node at
most. Each conv block widens its view by two nodes on either side; a transformer encoder sees the whole clip. A peak says where
the node sits, not that nothing else was heard.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from aasist_lib.audio import RATE
from aasist_lib.models import AASIST, AttentionMaps, StreamMaps


@dataclass(frozen=True)
class ClipAttention:
    """One clip's attention over its nodes; every curve sums to 1.

    `seconds (T + 1,)` are the edges of the temporal nodes. `node (T,)` is where in time the spectral nodes are read from,
    averaged over them; `band (S,)` where among the feature bands the temporal nodes are read from. `stack_time (T,)` and
    `stack_band (S,)` are the stack node's attention on the nodes that pooling kept (0 for the others), averaged over heads
    and streams; `stack_time_share` is the share of it that goes to temporal nodes.
    """

    score: float
    seconds: np.ndarray
    node: np.ndarray
    band: np.ndarray
    stack_time: np.ndarray
    stack_band: np.ndarray
    stack_time_share: float


@torch.inference_mode()
def explain_clip(model: AASIST, wave: np.ndarray) -> ClipAttention:
    """Attention of a trained detector on one waveform `(samples,)` at 16 kHz, already cropped to the length wanted."""
    device = next(model.backend.parameters()).device
    logits, maps = model.eval()(torch.from_numpy(wave)[None].to(device), return_attention=True)
    score = float(logits[0, 1] - logits[0, 0])
    return clip_attention(maps, score, len(wave) / RATE)


def clip_attention(maps: AttentionMaps, score: float, duration: float, item: int = 0) -> ClipAttention:
    """Reduce one batch item's maps to curves; of a back end of several members, the mean of theirs.

    Args:
        maps: of a forward pass.
        score: the item's log-odds.
        duration: of the waveform, in seconds; nodes share it evenly.
        item: which clip of the batch.
    """
    node, band, times, bands = [], [], [], []
    for member in maps.members:
        node.append(member.time_in_spectral[item].mean(dim=0))
        band.append(member.frequency_in_temporal[item].mean(dim=0))
        for stream in member.streams:
            time, of_band = stack_attention(member, stream)
            times.append(time[item])
            bands.append(of_band[item])
    node, band, stack_time, stack_band = (torch.stack(part).mean(dim=0).cpu() for part in (node, band, times, bands))
    share = float(stack_time.sum())
    return ClipAttention(
        score=score,
        seconds=np.linspace(0.0, duration, len(node) + 1),
        node=node.numpy(),
        band=band.numpy(),
        stack_time=(stack_time / share).numpy(),
        stack_band=(stack_band / stack_band.sum()).numpy(),
        stack_time_share=share,
    )


def stack_attention(maps: AttentionMaps, stream: StreamMaps) -> tuple[Tensor, Tensor]:
    """The stack node's attention in a stream's first layer, averaged over heads and laid over *all* nodes.

    Returns:
        `(batch, T)` and `(batch, S)`; together they sum to 1 for each clip.
    """
    row = stream.first[:, :, -1].mean(dim=1)
    count = maps.kept_temporal.shape[1]
    time = row.new_zeros(len(row), maps.temporal.shape[-1]).scatter(1, maps.kept_temporal, row[:, :count])
    band = row.new_zeros(len(row), maps.spectral.shape[-1]).scatter(1, maps.kept_spectral, row[:, count:])
    return time, band
