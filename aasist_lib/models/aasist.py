"""AASIST, assembled: front end -> nodes -> two graphs -> two streams with a stack node -> fusion -> two logits.

Each idea of the paper is a switch of `ModelConfig`; the other position is original AASIST (Jung et al. 2022, arXiv 2110.01200):
`graph_layer`, `stream_layer` and `fusion_layer` choose.
"""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from torch import Tensor, nn

from aasist_lib.config import ModelConfig
from aasist_lib.models.frontend import build_frontend
from aasist_lib.models.fusion import AttentionFusion, MaxFusion
from aasist_lib.models.graph import GraphAttention, GraphPool, HeterogeneousAttention
from aasist_lib.models.maps import AttentionMaps, StreamMaps, detach
from aasist_lib.models.nodes import build_mix, build_nodes
from aasist_lib.models.pairwise import HeterogeneousPairwise, PairwiseAttention
from aasist_lib.models.readout import build_readout


def graph_layer(config: ModelConfig, in_features: int, out_features: int) -> GraphAttention | PairwiseAttention:
    """Attention among the nodes of one type, chosen by the switch `graph_attention`."""
    if config.graph_attention == "pairwise":
        return PairwiseAttention(in_features, out_features, config)
    return GraphAttention(in_features, out_features, config)


def stream_layer(config: ModelConfig, in_features: int, out_features: int) -> HeterogeneousAttention | HeterogeneousPairwise:
    """Attention among the nodes of both types, chosen by the switch `heterogeneous`."""
    if config.heterogeneous == "type_pairs":
        return HeterogeneousPairwise(in_features, out_features, config)
    return HeterogeneousAttention(in_features, out_features, config)


def fusion_layer(config: ModelConfig) -> AttentionFusion | MaxFusion:
    """Fusion of the two streams' nodes of one type, chosen by the switch `fusion`."""
    if config.fusion == "max":
        return MaxFusion()
    return AttentionFusion(config.graph_dims[1], config.heads, config.attention_dropout)


class Stream(nn.Module):
    """Two heterogeneous layers with pooling between them; the second is residual."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        inner, outer = config.graph_dims
        self.stack = nn.Parameter(torch.randn(1, 1, inner))
        self.first = stream_layer(config, inner, outer)
        self.second = stream_layer(config, outer, outer)
        self.pool_temporal = GraphPool(outer, config.pool_ratios[2], config.pool_dropout)
        self.pool_spectral = GraphPool(outer, config.pool_ratios[2], config.pool_dropout)

    def forward(
        self, temporal: Tensor, spectral: Tensor, return_attention: bool
    ) -> tuple[Tensor, Tensor, Tensor, StreamMaps | None]:
        stack = self.stack.expand(len(temporal), -1, -1)
        temporal, spectral, stack, first = self.first(temporal, spectral, stack, return_attention)
        temporal, kept_temporal = self.pool_temporal(temporal)
        spectral, kept_spectral = self.pool_spectral(spectral)
        more_temporal, more_spectral, more_stack, second = self.second(temporal, spectral, stack, return_attention)
        maps = StreamMaps(first, kept_temporal, kept_spectral, second) if return_attention else None
        return temporal + more_temporal, spectral + more_spectral, stack + more_stack, maps


class Member(nn.Module):
    """One AASIST back end: frames `(batch, frames, features)` -> logits `(batch, 2)`, [spoof, bona fide]. The
    number of temporal nodes follows the number of frames."""

    def __init__(self, config: ModelConfig, features: int) -> None:
        super().__init__()
        inner, outer = config.graph_dims
        self.nodes = build_nodes(config, features)
        self.graph_temporal = graph_layer(config, self.nodes.channels, inner)
        self.graph_spectral = graph_layer(config, self.nodes.channels, inner)
        self.pool_temporal = GraphPool(inner, config.pool_ratios[0], config.pool_dropout)
        self.pool_spectral = GraphPool(inner, config.pool_ratios[1], config.pool_dropout)
        self.streams = nn.ModuleList([Stream(config), Stream(config)])
        self.fusion = nn.ModuleDict({kind: fusion_layer(config) for kind in ("temporal", "spectral", "stack")})
        self.drop_nodes, self.drop_readout = nn.Dropout(config.dropout), nn.Dropout(config.readout_dropout)
        self.readout = build_readout(config, 5 * outer)

    def forward(self, frames: Tensor, layer_weights: Tensor | None = None) -> tuple[Tensor, AttentionMaps | None]:
        """Logits, and the attention maps if `layer_weights` are given; the logits are the same (<= 1e-5)."""
        return_attention = layer_weights is not None
        nodes = self.nodes(frames, return_attention)
        temporal, temporal_map = self.graph_temporal(nodes.temporal, return_attention)
        spectral, spectral_map = self.graph_spectral(nodes.spectral, return_attention)
        temporal, kept_temporal = self.pool_temporal(temporal)
        spectral, kept_spectral = self.pool_spectral(spectral)
        streams = [stream(temporal, spectral, return_attention) for stream in self.streams]
        fused, fusion_maps = self._fuse(streams, return_attention)
        logits = self.readout(self.drop_readout(_read(fused)))
        if layer_weights is None:
            return logits, None
        maps = AttentionMaps(
            layer_weights, nodes.over_time, nodes.over_frequency, temporal_map, spectral_map,
            kept_temporal, kept_spectral, [stream[3] for stream in streams], fusion_maps,
        )  # fmt: skip
        return logits, detach(maps)

    def _fuse(self, streams: list[tuple], return_attention: bool) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        fused, maps = {}, {}
        for number, kind in enumerate(("temporal", "spectral", "stack")):
            first, second = (self.drop_nodes(stream[number]) for stream in streams)
            fused[kind], weights = self.fusion[kind](first, second, return_attention)
            if weights is not None:
                maps[kind] = weights
        return fused, maps


class BackEnd(nn.Module):
    """Everything trainable after the front end: states `(batch, layers, frames, features)` -> logits `(batch, 2)`, [spoof,
    bona fide], the mean over `config.members` members.

    Members differ only in their random initialisation and dropout. Averaging them reduces the random variation between
    trainings.
    """

    def __init__(self, config: ModelConfig, layers: int, features: int) -> None:
        super().__init__()
        self.mix = build_mix(config, layers, features)
        self.members = nn.ModuleList(Member(config, features) for _ in range(config.members))

    def layer_weights(self) -> Tensor:
        """The weights of the front end's layers, `(layers,)`, summing to 1."""
        return self.mix.weights()

    def forward(self, states: Tensor, return_attention: bool = False) -> Tensor | tuple[Tensor, AttentionMaps]:
        """Logits, and on request the `AttentionMaps` of all members. In training with several members, each has its own loss,
        and the logits are `(members, batch, 2)`."""
        frames, weights = self.mix(states), self.layer_weights() if return_attention else None
        logits, maps = zip(*(member(frames, weights) for member in self.members), strict=True)
        together = torch.stack(logits)
        if not self.training or len(logits) == 1:
            together = together.mean(dim=0)
        if not return_attention:
            return together
        maps[0].others = list(maps[1:])
        return together, maps[0]


def log_odds(logits: Tensor) -> np.ndarray:
    """Return scores `(batch,)` float64 from logits `(batch, 2)`; higher means bona fide."""
    return (logits[:, 1] - logits[:, 0]).cpu().double().numpy()


class AASIST(nn.Module):
    """The detector: `waveform (batch, samples)` at 16 kHz -> logits `(batch, 2)`, [spoof, bona fide]."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.frontend = build_frontend(config.frontend)
        self.backend = BackEnd(config, len(self.frontend.layers), self.frontend.features)

    def forward(self, waveform: Tensor, return_attention: bool = False) -> Tensor | tuple[Tensor, AttentionMaps]:
        """Logits, and on request the `AttentionMaps`.

        Raises:
            ValueError: the input is not `(batch, samples)`, or too short for the front end.
        """
        if waveform.ndim != 2:
            raise ValueError(f"waveform has shape {tuple(waveform.shape)}; (batch, samples) is needed")
        return self.backend(self.frontend(waveform), return_attention)

    @property
    def device(self) -> torch.device:
        """The device of the trained weights."""
        return next(self.backend.parameters()).device

    def content_digest(self) -> str:
        """16 hexadecimal digits of configuration, front end and trained weights, for cache keys."""
        digest = hashlib.sha256(self.config.model_dump_json().encode() + self.frontend.content_digest().encode())
        tuned = {f"frontend.{name}": p for name, p in self.frontend.named_parameters() if p.requires_grad}
        for name, tensor in sorted({**self.backend.state_dict(), **tuned}.items()):
            digest.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]


def _read(fused: dict[str, Tensor]) -> Tensor:
    """AASIST's readout: maximum magnitude and mean over each type of node, and the stack node; `(batch, 5 * features)`."""
    parts = []
    for kind in ("temporal", "spectral"):
        parts += [fused[kind].abs().amax(dim=1), fused[kind].mean(dim=1)]
    return torch.cat([*parts, fused["stack"].mean(dim=1)], dim=1)
