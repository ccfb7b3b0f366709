"""The enhanced AASIST, assembled: frozen encoder -> conv blocks -> graphs -> two streams -> fusion -> two logits."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional

from aasist_lib.config import ModelConfig
from aasist_lib.models.frontend import FrozenEncoder
from aasist_lib.models.fusion import AttentionFusion, MaxFusion
from aasist_lib.models.graph import GraphAttention, GraphPool, HeterogeneousAttention

NODE_STRIDE = 3
"""Encoder frames (and projected features) a temporal (spectral) node spans before the conv blocks widen its view."""


@dataclass
class StreamMaps:
    """One heterogeneous stream. `kept_*` say which nodes of the graphs' full set take part, `(batch, n)`.

    `first` is `(batch, heads, T + S + 1, T + S)` over the nodes in `kept_temporal` and `kept_spectral`; `second` is the same
    over the nodes that pooling inside the stream left, `kept_*_second`. The last row is the stack node.
    """

    first: Tensor
    kept_temporal_second: Tensor
    kept_spectral_second: Tensor
    second: Tensor


@dataclass
class AttentionMaps:
    """Every attention of one forward pass, detached. Rows of attention sum to 1.

    Shapes, for T temporal and S spectral nodes before pooling: `layers (L,)` the encoder's layer weights; `time_in_spectral
    (batch, S, T)` where in time each spectral node looks; `frequency_in_temporal (batch, T, S)` where in frequency each
    temporal node looks; `temporal (batch, heads, T, T)` and `spectral (batch, heads, S, S)` graph attention; `kept_temporal`
    and `kept_spectral (batch, n)` the nodes that pooling kept; `streams` two `StreamMaps`; `fusion` by node kind, empty for
    max fusion. These are of the first member; `others` holds the maps of the others.
    """

    layers: Tensor
    time_in_spectral: Tensor
    frequency_in_temporal: Tensor
    temporal: Tensor
    spectral: Tensor
    kept_temporal: Tensor
    kept_spectral: Tensor
    streams: list[StreamMaps] = field(default_factory=list)
    fusion: dict[str, Tensor] = field(default_factory=dict)
    others: list[AttentionMaps] = field(default_factory=list)

    @property
    def members(self) -> list[AttentionMaps]:
        """The maps of every member of the back end, one by one."""
        return [self, *self.others]


class ResidualBlock(nn.Module):
    """AASIST's residual block on `(batch, channels, frequency, time)`; both sides of the map keep their length."""

    def __init__(self, in_channels: int, out_channels: int, first: bool) -> None:
        super().__init__()
        self.pre = nn.Identity() if first else nn.Sequential(nn.BatchNorm2d(in_channels), nn.SELU())
        self.conv1 = nn.Conv2d(in_channels, out_channels, (2, 3), padding=(1, 1))
        self.norm = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, (2, 3), padding=(0, 1))
        same = in_channels == out_channels
        self.shortcut = nn.Identity() if same else nn.Conv2d(in_channels, out_channels, (1, 3), padding=(0, 1))

    def forward(self, image: Tensor) -> Tensor:
        hidden = functional.selu(self.norm(self.conv1(self.pre(image))))
        return self.conv2(hidden) + self.shortcut(image)


class LayerMix(nn.Module):
    """Learned weighted sum of encoder layers, each normalised first: `(batch, layers, frames, f)` -> `(batch, frames, f)`."""

    def __init__(self, layers: int, features: int) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(layers))
        self.features = features

    def weights(self) -> Tensor:
        """The layers' weights, `(layers,)`, summing to 1."""
        return self.logits.softmax(dim=0)

    def forward(self, states: Tensor) -> Tensor:
        normalised = functional.layer_norm(states, (self.features,))
        # A matrix product over the layers as they lie in memory; einsum would copy all states first.
        weights = self.weights().expand(len(states), 1, -1)
        return (weights @ normalised.flatten(2)).view(len(states), *states.shape[2:])


class Nodes(nn.Module):
    """`(batch, channels, S, T)` -> spectral nodes `(batch, S, channels)` and temporal nodes `(batch, T, channels)`.

    Each node is an attention-weighted mean along the other axis; the weights are learned per channel.
    """

    def __init__(self, channels: int, spectral_nodes: int) -> None:
        super().__init__()
        self.attention = nn.Sequential(
            nn.Conv2d(channels, 2 * channels, 1), nn.SELU(), nn.BatchNorm2d(2 * channels), nn.Conv2d(2 * channels, channels, 1)
        )
        self.position = nn.Parameter(0.02 * torch.randn(1, spectral_nodes, channels))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Also returns the weights: `(batch, S, T)` summing to 1 over T, and `(batch, T, S)` summing to 1 over S."""
        logits = self.attention(image)
        over_time, over_frequency = logits.softmax(dim=-1), logits.softmax(dim=-2)
        spectral = (image * over_time).sum(dim=-1).transpose(1, 2) + self.position
        temporal = (image * over_frequency).sum(dim=-2).transpose(1, 2)
        return spectral, temporal, over_time.mean(dim=1), over_frequency.mean(dim=1).transpose(1, 2)


class Stream(nn.Module):
    """Two heterogeneous layers with pooling between them; the second adds to what the first found."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        inner, outer = config.graph_dims
        self.stack = nn.Parameter(torch.randn(1, 1, inner))
        self.first = HeterogeneousAttention(inner, outer, config.heads, config.attention_dropout)
        self.second = HeterogeneousAttention(outer, outer, config.heads, config.attention_dropout)
        self.pool_temporal = GraphPool(outer, config.pool_ratios[2], config.dropout)
        self.pool_spectral = GraphPool(outer, config.pool_ratios[2], config.dropout)

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


class BackEnd(nn.Module):
    """Everything trainable: encoder states `(batch, layers, frames, features)` -> logits `(batch, 2)`, [spoof, bona fide].

    Any number of frames from `NODE_STRIDE` on works; the number of temporal nodes follows it.
    """

    def __init__(self, config: ModelConfig, layers: int, features: int) -> None:
        super().__init__()
        inner, outer = config.graph_dims
        spectral_nodes = config.projection // NODE_STRIDE
        self.mix = LayerMix(layers, features)
        self.normalise = config.normalise
        self.project = nn.Linear(features, config.projection)
        self.entry = nn.Sequential(nn.MaxPool2d(NODE_STRIDE), nn.BatchNorm2d(1), nn.SELU())
        narrow, wide = config.channels
        channels = [1] + [narrow if number < 2 else wide for number in range(config.blocks)]
        self.blocks = nn.Sequential(
            *(ResidualBlock(a, b, first=n == 0) for n, (a, b) in enumerate(zip(channels, channels[1:], strict=False)))
        )
        last = channels[-1]
        self.norm = nn.BatchNorm2d(last)
        self.nodes = Nodes(last, spectral_nodes)
        self.graph_temporal = GraphAttention(last, inner, config.heads, config.attention_dropout)
        self.graph_spectral = GraphAttention(last, inner, config.heads, config.attention_dropout)
        self.pool_temporal = GraphPool(inner, config.pool_ratios[0], config.dropout)
        self.pool_spectral = GraphPool(inner, config.pool_ratios[1], config.dropout)
        self.streams = nn.ModuleList([Stream(config), Stream(config)])
        self.fusion = nn.ModuleDict({kind: _fusion(config) for kind in ("temporal", "spectral", "stack")})
        self.drop_nodes, self.drop = nn.Dropout(config.dropout), nn.Dropout(config.dropout)
        self.readout = nn.Linear(5 * outer, 2)

    def forward(self, states: Tensor, return_attention: bool = False) -> Tensor | tuple[Tensor, AttentionMaps]:
        """Logits, with `AttentionMaps` when asked for; the logits are the same either way (<= 1e-5)."""
        frames = self.mix(states)
        if self.normalise:
            frames = _standardise(frames)
        image = self.project(frames).transpose(1, 2).unsqueeze(1)
        image = functional.selu(self.norm(self.blocks(self.entry(image))))
        spectral, temporal, over_time, over_frequency = self.nodes(image)
        temporal, temporal_map = self.graph_temporal(temporal, return_attention)
        spectral, spectral_map = self.graph_spectral(spectral, return_attention)
        temporal, kept_temporal = self.pool_temporal(temporal)
        spectral, kept_spectral = self.pool_spectral(spectral)
        streams = [stream(temporal, spectral, return_attention) for stream in self.streams]
        fused, fusion_maps = self._fuse(streams, return_attention)
        logits = self.readout(self.drop(_read(fused)))
        if not return_attention:
            return logits
        maps = AttentionMaps(
            self.mix.weights(), over_time, over_frequency, temporal_map, spectral_map, kept_temporal, kept_spectral,
            [stream[3] for stream in streams], fusion_maps,
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


class Members(nn.Module):
    """Back ends that differ in their random beginnings and dropout only: the same states, a decision each, averaged.

    What one training leaves to chance differs from member to member and averages out; what the features say does not.
    """

    def __init__(self, config: ModelConfig, layers: int, features: int) -> None:
        super().__init__()
        self.each = nn.ModuleList(BackEnd(config, layers, features) for _ in range(config.members))

    def forward(self, states: Tensor, return_attention: bool = False) -> Tensor | tuple[Tensor, AttentionMaps]:
        """Logits `(batch, 2)`, the members' mean, with the `AttentionMaps` of all when asked for. In training, where each
        member answers for itself, `(members, batch, 2)`."""
        if not return_attention:
            logits = torch.stack([member(states) for member in self.each])
            return logits if self.training else logits.mean(dim=0)
        logits, maps = zip(*(member(states, True) for member in self.each), strict=True)
        maps[0].others = list(maps[1:])
        return torch.stack(logits).mean(dim=0), maps[0]


class AASIST(nn.Module):
    """The detector: `waveform (batch, samples)` at 16 kHz -> logits `(batch, 2)`, [spoof, bona fide]."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.frontend = FrozenEncoder(config.frontend)
        kind = BackEnd if config.members == 1 else Members
        self.backend = kind(config, len(self.frontend.layers), self.frontend.features)

    def forward(self, waveform: Tensor, return_attention: bool = False) -> Tensor | tuple[Tensor, AttentionMaps]:
        """Logits, with `AttentionMaps` when asked for.

        Raises:
            ValueError: the input is not `(batch, samples)`.
        """
        if waveform.ndim != 2:
            raise ValueError(f"waveform has shape {tuple(waveform.shape)}; (batch, samples) is needed")
        return self.backend(self.frontend(waveform), return_attention)


def _standardise(frames: Tensor) -> Tensor:
    """Each feature of `(batch, frames, features)` with mean 0 and deviation 1 over its clip; one frame gives zeros."""
    centred = frames - frames.mean(dim=1, keepdim=True)
    # Several times as fast on CPU as Tensor.std along this axis.
    deviation = (centred.square().sum(dim=1, keepdim=True) / max(frames.shape[1] - 1, 1) + 1e-12).sqrt()
    return centred * (deviation + 1e-3).reciprocal()  # a division's gradient would cost three passes over the frames


def detach(maps: AttentionMaps | StreamMaps) -> AttentionMaps | StreamMaps:
    """The same maps, free of the autograd graph."""
    return type(maps)(**{name: _detach(value) for name, value in vars(maps).items()})


def _detach(value: Tensor | list | dict) -> Tensor | list | dict:
    if isinstance(value, list):
        return [detach(item) for item in value]
    if isinstance(value, dict):
        return {name: item.detach() for name, item in value.items()}
    return value.detach()


def _fusion(config: ModelConfig) -> nn.Module:
    if config.fusion == "max":
        return MaxFusion()
    return AttentionFusion(config.graph_dims[1], config.heads, config.attention_dropout)


def _read(fused: dict[str, Tensor]) -> Tensor:
    """AASIST's readout: largest magnitude and mean over either kind of node, and the stack node; `(batch, 5 * features)`."""
    parts = []
    for kind in ("temporal", "spectral"):
        parts += [fused[kind].abs().amax(dim=1), fused[kind].mean(dim=1)]
    return torch.cat([*parts, fused["stack"].mean(dim=1)], dim=1)
