"""The original AASIST and AASIST-L (Jung et al., ICASSP 2022, arXiv 2110.01200), and the loader of their official weights.

Sinc filters -> residual encoder -> spectral and temporal graphs -> two heterogeneous streams -> maximum -> two logits.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from aasist_lib.models.fusion import MaxFusion
from aasist_lib.models.graph import GraphPool
from aasist_lib.models.pairwise import HeterogeneousPairwise, PairwiseAttention
from aasist_lib.models.sinc import POOL, SincFrontEnd

FILTERS, TAPS, BLOCKS = 70, 129, 6
SHORTEST = TAPS - 1 + POOL ** (BLOCKS + 1)
"""Samples that leave one temporal node."""
GRAPH_TEMPERATURE, STREAM_TEMPERATURE = 2.0, 100.0
POOL_DROPOUT, STREAM_DROPOUT, READOUT_DROPOUT = 0.3, 0.2, 0.5


class OfficialWeightsError(ValueError):
    """The file is not an official AASIST or AASIST-L state dict; the message says what is wrong, missing or unexpected."""


@dataclass(frozen=True)
class Size:
    """What tells the official models apart: channels of the first two and of the other blocks, features of the graphs and of
    the streams, and the shares of nodes that pooling keeps (spectral graph, temporal graph, inside the streams)."""

    name: str
    channels: tuple[int, int]
    graph_dims: tuple[int, int]
    pool_ratios: tuple[float, float, float]


AASIST_SIZE = Size("AASIST", (32, 64), (64, 32), (0.5, 0.7, 0.5))
AASIST_L_SIZE = Size("AASIST-L", (32, 24), (24, 32), (0.4, 0.5, 0.7))


class OriginalBlock(nn.Module):
    """Residual block of the encoder: `(batch, in, frequency, time)` -> `(batch, out, frequency, time // 3)`.

    The official blocks own a batch norm before the first convolution whose output they discard: its published weights are
    untouched (1 and 0). It is kept, frozen, so that state dicts and parameter counts agree.
    """

    def __init__(self, in_channels: int, out_channels: int, first: bool) -> None:
        super().__init__()
        if not first:
            self.unused_norm = nn.BatchNorm2d(in_channels).requires_grad_(False)
        self.conv1 = nn.Conv2d(in_channels, out_channels, (2, 3), padding=(1, 1))
        self.norm = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, (2, 3), padding=(0, 1))
        same = in_channels == out_channels
        self.shortcut = nn.Identity() if same else nn.Conv2d(in_channels, out_channels, (1, 3), padding=(0, 1))

    def forward(self, image: Tensor) -> Tensor:
        hidden = functional.selu(self.norm(self.conv1(image)))
        return functional.max_pool2d(self.conv2(hidden) + self.shortcut(image), (1, POOL))


class OriginalStream(nn.Module):
    """One branch of the max graph operation: two HS-GALs with pooling between; the second adds to what the first found."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        inner, outer = size.graph_dims
        self.stack = nn.Parameter(torch.randn(1, 1, inner))
        self.first = HeterogeneousPairwise(inner, outer, STREAM_TEMPERATURE)
        self.second = HeterogeneousPairwise(outer, outer, STREAM_TEMPERATURE)
        self.pool_temporal = GraphPool(outer, size.pool_ratios[2], POOL_DROPOUT)
        self.pool_spectral = GraphPool(outer, size.pool_ratios[2], POOL_DROPOUT)

    def forward(self, temporal: Tensor, spectral: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        temporal, spectral, stack, _ = self.first(temporal, spectral, self.stack)
        temporal, spectral = self.pool_temporal(temporal)[0], self.pool_spectral(spectral)[0]
        more_temporal, more_spectral, more_stack, _ = self.second(temporal, spectral, stack)
        return temporal + more_temporal, spectral + more_spectral, stack + more_stack


class OriginalAASIST(nn.Module):
    """The detector: `waveform (batch, samples)` at 16 kHz -> logits `(batch, 2)`, [spoof, bona fide].

    Any length from `SHORTEST` samples on works: only spectral nodes have a learned position.
    """

    def __init__(self, size: Size = AASIST_SIZE) -> None:
        super().__init__()
        self.size = size
        inner, outer = size.graph_dims
        narrow, wide = size.channels
        channels = [1, narrow, narrow] + [wide] * (BLOCKS - 2)
        self.frontend = SincFrontEnd(FILTERS, TAPS)
        self.blocks = nn.Sequential(*(OriginalBlock(a, b, a == 1) for a, b in zip(channels, channels[1:], strict=False)))
        self.position = nn.Parameter(torch.randn(1, FILTERS // POOL, wide))
        self.graph_spectral = PairwiseAttention(wide, inner, GRAPH_TEMPERATURE)
        self.graph_temporal = PairwiseAttention(wide, inner, GRAPH_TEMPERATURE)
        self.pool_spectral = GraphPool(inner, size.pool_ratios[0], POOL_DROPOUT)
        self.pool_temporal = GraphPool(inner, size.pool_ratios[1], POOL_DROPOUT)
        self.streams = nn.ModuleList([OriginalStream(size), OriginalStream(size)])
        self.fusion = MaxFusion()
        self.drop_nodes, self.drop = nn.Dropout(STREAM_DROPOUT), nn.Dropout(READOUT_DROPOUT)
        self.readout = nn.Linear(5 * outer, 2)

    def forward(self, waveform: Tensor) -> Tensor:
        """The logits.

        Raises:
            ValueError: the input is not `(batch, samples)` or is shorter than `SHORTEST`.
        """
        if waveform.ndim != 2 or waveform.shape[1] < SHORTEST:
            raise ValueError(f"waveform has shape {tuple(waveform.shape)}; (batch, samples >= {SHORTEST}) is needed")
        spectral, temporal = self._nodes(self.blocks(self.frontend(waveform)))
        spectral = self.pool_spectral(self.graph_spectral(spectral)[0])[0]
        temporal = self.pool_temporal(self.graph_temporal(temporal)[0])[0]
        streams = [stream(temporal, spectral) for stream in self.streams]
        temporal, spectral, stack = (
            self.fusion(self.drop_nodes(a), self.drop_nodes(b))[0] for a, b in zip(*streams, strict=True)
        )
        parts = [part for nodes in (temporal, spectral) for part in (nodes.abs().amax(dim=1), nodes.mean(dim=1))]
        return self.readout(self.drop(torch.cat([*parts, stack.squeeze(1)], dim=1)))

    def _nodes(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """`(batch, channels, S, T)` -> spectral `(batch, S, channels)`, temporal `(batch, T, channels)`: the largest
        magnitude along the other axis."""
        magnitude = image.abs()
        return magnitude.amax(dim=3).transpose(1, 2) + self.position, magnitude.amax(dim=2).transpose(1, 2)


def load_official_aasist(path: Path | str) -> OriginalAASIST:
    """The model of an official weight file, AASIST or AASIST-L by the shapes in it, in eval mode.

    Raises:
        OfficialWeightsError: the file is missing or no state dict, or its names and shapes are not exactly the official ones.
    """
    weights = _read_state(Path(path))
    with torch.random.fork_rng(devices=[]):  # the random values built here are all overwritten
        models = [OriginalAASIST(size) for size in (AASIST_SIZE, AASIST_L_SIZE)]
    faults, model = min(((_faults(model, weights), model) for model in models), key=lambda pair: len(pair[0]))
    if faults:
        listed = "; ".join(faults[:10]) + ("; ..." if len(faults) > 10 else "")
        raise OfficialWeightsError(f"{path}: not the official {model.size.name}, {len(faults)} differences: {listed}")
    model.load_state_dict({name: weights[official_name(name)] for name in model.state_dict()}, strict=True)
    return model.eval()


def official_name(name: str) -> str:
    """What the official state dict calls an entry of `OriginalAASIST`'s."""
    place, (official, parts) = _lookup(_PLACES, name)
    rest = name[len(place) :]
    if parts:
        part, official_part = _lookup(parts, rest[1:])
        official, rest = f"{official}.{official_part}", rest[1 + len(part) :]
    return official + rest


def _read_state(path: Path) -> dict[str, Tensor]:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise OfficialWeightsError(f"{path}: cannot be read: {error.strerror}") from error
    except Exception as error:  # the unpickler raises whatever the bytes lead it to; its advice to load unsafely stays behind
        raise OfficialWeightsError(f"{path}: not a file of tensors alone ({type(error).__name__})") from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise OfficialWeightsError(f"{path}: not a state dict (names to tensors)")
    return state


def _faults(model: OriginalAASIST, weights: dict[str, Tensor]) -> list[str]:
    """What keeps the weights from fitting the model; empty if they fit."""
    shapes = {official_name(name): tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    faults = [f"missing {name}" for name in shapes if name not in weights]
    faults += [f"unexpected {name}" for name in weights if name not in shapes]
    for name, shape in shapes.items():
        if name in weights and tuple(weights[name].shape) != shape:
            faults.append(f"{name} has shape {tuple(weights[name].shape)}, not {shape}")
    return faults


def _lookup(table: dict, name: str) -> tuple:
    for key, value in table.items():
        if name == key or name.startswith(key + "."):
            return key, value
    raise KeyError(name)


_BLOCK = {"unused_norm": "bn1", "conv1": "conv1", "norm": "bn2", "conv2": "conv2", "shortcut": "conv_downsample"}
_GRAPH = {
    "pair": "att_proj", "pair_vector": "att_weight", "neighbours": "proj_with_att", "itself": "proj_without_att", "norm": "bn",
}  # fmt: skip
_STREAM = _GRAPH | {
    "embed.temporal": "proj_type1", "embed.spectral": "proj_type2",
    "pair_vectors.temporal": "att_weight11", "pair_vectors.spectral": "att_weight22",
    "pair_vectors.across": "att_weight12", "pair_vectors.stack": "att_weightM",
    "stack_pair": "att_projM", "stack_neighbours": "proj_with_attM", "stack_itself": "proj_without_attM",
}  # fmt: skip
_POOL = {"score.1": "proj"}
_PLACES: dict[str, tuple[str, dict[str, str]]] = {
    "frontend.norm": ("first_bn", {}), "position": ("pos_S", {}), "readout": ("out_layer", {}),
    "graph_spectral": ("GAT_layer_S", _GRAPH), "graph_temporal": ("GAT_layer_T", _GRAPH),
    "pool_spectral": ("pool_S", _POOL), "pool_temporal": ("pool_T", _POOL),
}  # fmt: skip
_PLACES |= {f"blocks.{number}": (f"encoder.{number}.0", _BLOCK) for number in range(BLOCKS)}
for _stream in (1, 2):
    _PLACES |= {
        f"streams.{_stream - 1}.stack": (f"master{_stream}", {}),
        f"streams.{_stream - 1}.first": (f"HtrgGAT_layer_ST{_stream}1", _STREAM),
        f"streams.{_stream - 1}.second": (f"HtrgGAT_layer_ST{_stream}2", _STREAM),
        f"streams.{_stream - 1}.pool_temporal": (f"pool_hT{_stream}", _POOL),
        f"streams.{_stream - 1}.pool_spectral": (f"pool_hS{_stream}", _POOL),
    }
