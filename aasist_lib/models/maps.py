"""Containers for all attention maps of a forward pass."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeVar

from torch import Tensor


@dataclass
class StreamMaps:
    """One heterogeneous stream. `kept_*` say which nodes of the graphs' full set take part, `(batch, n)`.

    `first` is `(batch, heads, T + S + 1, T + S)` over the nodes in `kept_temporal` and `kept_spectral`; `second` is the same
    over the nodes that pooling inside the stream kept, `kept_*_second`. The last row is the stack node.
    """

    first: Tensor
    kept_temporal_second: Tensor
    kept_spectral_second: Tensor
    second: Tensor


@dataclass
class AttentionMaps:
    """Every attention of one forward pass, detached. Rows of attention sum to 1.

    Shapes, for T temporal and S spectral nodes before pooling: `layers (L,)` the encoder's layer weights; `time_in_spectral
    (batch, S, T)` where in time each spectral node attends; `frequency_in_temporal (batch, T, S)` where in frequency each
    temporal node attends; `temporal (batch, heads, T, T)` and `spectral (batch, heads, S, S)` graph attention; `kept_temporal`
    and `kept_spectral (batch, n)` the nodes that pooling kept; `streams` two `StreamMaps`; `fusion` by node kind, empty for
    max fusion. Original AASIST's attention has one head. These are of the first member; `others` holds the maps of the others.
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

    def blocks(self, stream: int, second: bool = False) -> dict[str, Tensor]:
        """Heterogeneous attention of a stream in blocks by node type: 'temporal → temporal', 'temporal → spectral', …,
        'stack → spectral'.

        Each block is `(batch, heads, queries, keys)`, over the nodes that take part in the layer. A row of attention is split
        between the two blocks of its query type; together they sum to 1.

        Args:
            stream: 0 or 1.
            second: of the stream's second layer, after its pooling.
        """
        chosen = self.streams[stream]
        weights = chosen.second if second else chosen.first
        temporal = chosen.kept_temporal_second.shape[1] if second else self.kept_temporal.shape[1]
        spectral = weights.shape[-1] - temporal
        rows = zip(("temporal", "spectral", "stack"), weights.split([temporal, spectral, 1], dim=2), strict=True)
        return {
            f"{looking} → {seen}": block
            for looking, row in rows
            for seen, block in zip(("temporal", "spectral"), row.split([temporal, spectral], dim=3), strict=True)
        }

    @property
    def members(self) -> list[AttentionMaps]:
        """The maps of every member of the back end, one by one."""
        return [self, *self.others]


Maps = TypeVar("Maps", "AttentionMaps", "StreamMaps")


def detach(maps: Maps) -> Maps:
    """The maps, detached from the autograd graph."""
    return type(maps)(**{name: _detach(value) for name, value in vars(maps).items()})


def _detach(value: Tensor | list | dict) -> Any:
    if isinstance(value, list):
        return [detach(item) for item in value]
    if isinstance(value, dict):
        return {name: item.detach() for name, item in value.items()}
    return value.detach()
