"""From the front end's states to graph nodes: an image over frequency and time, residual blocks, spectral and temporal nodes.

`FeatureNodes` is for features of an encoder (or cepstral features): with `activation: gelu` as in the paper's published code,
with `selu` as in wav2vec2 + AASIST (Tak et al. 2022, arXiv 2202.12233). `BandNodes` is for band-pass filters on the waveform,
as in original AASIST (Jung et al. 2022).

Nearly all of the back end's time is spent here. Images are stored with channels last, which is faster on CPU
(benchmarks/README.md) and does not change results.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from aasist_lib.config import ModelConfig
from aasist_lib.models.base import activation

NODE_STRIDE = 3
"""Encoder frames per temporal node, and projected features per spectral node, before the convolutions widen the receptive
field."""
POOL = 3
"""Pooling factor in time of each of original AASIST's blocks."""


@dataclass
class Nodes:
    """`spectral (batch, S, channels)` and `temporal (batch, T, channels)`, and the weights that made them: `over_time
    (batch, S, T)` summing to 1 over T, `over_frequency (batch, T, S)` summing to 1 over S."""

    spectral: Tensor
    temporal: Tensor
    over_time: Tensor
    over_frequency: Tensor


class OneLayer(nn.Module):
    """For a front end with one layer: its states as they are, `(batch, 1, frames, f)` -> `(batch, frames, f)`."""

    def weights(self) -> Tensor:
        """`(1,)`: the only layer has weight 1."""
        return torch.ones(1)

    def forward(self, states: Tensor) -> Tensor:
        return states.squeeze(1)


class LayerMix(nn.Module):
    """Not in the paper: a learned weighted sum of encoder layers, `(batch, layers, frames, f)` -> `(batch, frames, f)`.

    Args:
        layers: number of layers; a single layer has weight 1.
        features: features per frame.
        layer_norm: first give every frame of every layer mean 0 and deviation 1 over its features.
        normalise: at the end give every feature mean 0 and deviation 1 over the clip's frames.
    """

    def __init__(self, layers: int, features: int, layer_norm: bool, normalise: bool) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(layers), requires_grad=layers > 1)
        self.features, self.layer_norm, self.normalise = features, layer_norm, normalise

    def weights(self) -> Tensor:
        """The layers' weights, `(layers,)`, summing to 1."""
        return self.logits.softmax(dim=0)

    def forward(self, states: Tensor) -> Tensor:
        if self.layer_norm:
            states = functional.layer_norm(states, (self.features,))
        if len(self.logits) == 1:
            frames = states.squeeze(1)
        else:
            # A matrix product over the layers as they lie in memory; einsum would copy all states first.
            weights = self.weights().expand(len(states), 1, -1)
            frames = (weights @ states.flatten(2)).view(len(states), *states.shape[2:])
        return _standardise(frames) if self.normalise else frames


class ResidualBlock(nn.Module):
    """AASIST's residual block on `(batch, channels, frequency, time)`; the size of the map is unchanged."""

    def __init__(self, in_channels: int, out_channels: int, first: bool, function: str) -> None:
        super().__init__()
        self.activation = activation(function)
        self.pre = nn.Identity() if first else nn.Sequential(nn.BatchNorm2d(in_channels), self.activation)
        self.conv1 = nn.Conv2d(in_channels, out_channels, (2, 3), padding=(1, 1))
        self.norm = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, (2, 3), padding=(0, 1))
        same = in_channels == out_channels
        self.shortcut = nn.Identity() if same else nn.Conv2d(in_channels, out_channels, (1, 3), padding=(0, 1))

    def forward(self, image: Tensor) -> Tensor:
        return self._residual(self.pre(image), image)

    def _residual(self, inside: Tensor, image: Tensor) -> Tensor:
        return self.conv2(self.activation(self.norm(self.conv1(inside)))) + self.shortcut(image)


class PoolingBlock(ResidualBlock):
    """The block as in official AASIST: `(batch, in, frequency, time)` -> `(batch, out, frequency, time // 3)`.

    The official blocks have a batch norm before the first convolution whose output is discarded; its published weights have
    their initial values (1 and 0). It is kept here, frozen, so that state dicts and parameter counts agree.
    """

    def __init__(self, in_channels: int, out_channels: int, first: bool, function: str) -> None:
        super().__init__(in_channels, out_channels, True, function)
        if not first:
            self.unused_norm = nn.BatchNorm2d(in_channels).requires_grad_(False)

    def forward(self, image: Tensor) -> Tensor:
        return functional.max_pool2d(self._residual(image, image), (1, POOL))


class FeatureNodes(nn.Module):
    """`(batch, frames, features)` -> `Nodes`: features projected, residual blocks; a node is an attention-weighted mean of the
    image along the other axis, with weights learned per channel.

    Any number of frames from `NODE_STRIDE` on works; the number of temporal nodes follows it.
    """

    def __init__(self, config: ModelConfig, features: int) -> None:
        super().__init__()
        self.project = nn.Linear(features, config.projection)
        self.entry = nn.Sequential(nn.MaxPool2d(NODE_STRIDE), nn.BatchNorm2d(1), activation(config.activation))
        self.blocks, channels = _blocks(ResidualBlock, config, config.activation)
        self.exit = nn.Sequential(nn.BatchNorm2d(channels), activation(config.activation))
        self.attention = nn.Sequential(
            nn.Conv2d(channels, 2 * channels, 1),
            activation(config.activation),
            nn.BatchNorm2d(2 * channels),
            nn.Conv2d(2 * channels, channels, 1),
        )
        self.position = nn.Parameter(torch.randn(1, config.projection // NODE_STRIDE, channels))
        self.channels = channels

    def forward(self, frames: Tensor, with_places: bool = False) -> Nodes:
        """`with_places` exists for symmetry with `BandNodes`; here the places are the attention that made the nodes."""
        image = self.entry(self.project(frames).unsqueeze(1))
        # (batch, 1, time, frequency) -> (batch, 1, frequency, time); with one channel only the strides can say channels last.
        image = image.transpose(1, 3).contiguous().permute(0, 3, 1, 2)
        image = self.exit(self.blocks(image))
        logits, image = (tensor.permute(0, 2, 3, 1) for tensor in (self.attention(image), image))
        over_time, over_frequency = logits.softmax(dim=2), logits.softmax(dim=1)
        spectral = (image * over_time).sum(dim=2) + self.position
        temporal = (image * over_frequency).sum(dim=1)
        return Nodes(spectral, temporal, over_time.mean(dim=3), over_frequency.mean(dim=3).transpose(1, 2))


class BandNodes(nn.Module):
    """As in original AASIST: band magnitudes `(batch, frames, bands)`, where a frame is 3 samples, -> `Nodes`.

    A node is the largest magnitude along the other axis, channel by channel. Any number of frames from `3 ** blocks` on works;
    only spectral nodes have a learned position.
    """

    def __init__(self, config: ModelConfig, features: int) -> None:
        super().__init__()
        self.shortest = POOL**config.blocks
        self.norm = nn.BatchNorm2d(1)
        self.blocks, self.channels = _blocks(PoolingBlock, config, "selu")
        self.position = nn.Parameter(torch.randn(1, features, self.channels))

    def forward(self, frames: Tensor, with_places: bool = False) -> Nodes:
        """The places, computed only `with_places` (else empty), are shares of channels whose largest magnitude lies there.

        Raises:
            ValueError: fewer frames than make one temporal node.
        """
        if frames.shape[1] < self.shortest:
            raise ValueError(
                f"{frames.shape[1]} frames of 3 samples are too few: this model needs {self.shortest}; use a longer clip"
            )
        magnitude = self.blocks(functional.selu(self.norm(frames.transpose(1, 2).unsqueeze(1)))).abs()
        spectral, temporal = (magnitude.amax(dim=axis).transpose(1, 2) for axis in (3, 2))
        places = (_where(magnitude, 3), _where(magnitude, 2)) if with_places else (magnitude.new_empty(0),) * 2
        return Nodes(spectral + self.position, temporal, *places)


def build_mix(config: ModelConfig, layers: int, features: int) -> LayerMix | OneLayer:
    """The module that turns this front end's states into frames."""
    extras = config.layer_norm or config.normalise
    if config.frontend.kind == "sinc" or (layers == 1 and not extras):
        return OneLayer()
    return LayerMix(layers, features, config.layer_norm, config.normalise)


def build_nodes(config: ModelConfig, features: int) -> FeatureNodes | BandNodes:
    """The module that turns frames into nodes."""
    return (BandNodes if config.frontend.kind == "sinc" else FeatureNodes)(config, features)


def _blocks(kind: type[ResidualBlock], config: ModelConfig, function: str) -> tuple[nn.Sequential, int]:
    """The first two blocks are narrow, the others wide; also the channels of the last."""
    narrow, wide = config.channels
    channels = [1] + [narrow if number < 2 else wide for number in range(config.blocks)]
    pairs = enumerate(zip(channels, channels[1:], strict=False))
    blocks = (kind(a, b, number == 0, function) for number, (a, b) in pairs)
    return nn.Sequential(*blocks), channels[-1]


def _standardise(frames: Tensor) -> Tensor:
    """Each feature of `(batch, frames, features)` with mean 0 and deviation 1 over its clip; one frame gives zeros."""
    centred = frames - frames.mean(dim=1, keepdim=True)
    # Several times as fast on CPU as Tensor.std along this axis.
    deviation = (centred.square().sum(dim=1, keepdim=True) / max(frames.shape[1] - 1, 1) + 1e-12).sqrt()
    return centred / (deviation + 1e-3)


def _where(magnitude: Tensor, axis: int) -> Tensor:
    """Of `(batch, channels, S, T)`: the share of channels whose largest value along `axis` is at each place of it,
    `(batch, nodes, length of axis)`, rows summing to 1."""
    places = functional.one_hot(magnitude.argmax(dim=axis), magnitude.shape[axis])
    return places.to(magnitude.dtype).mean(dim=1)
