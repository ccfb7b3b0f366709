"""The paper's back end as published (Towards Scalable AASIST, arXiv 2507.11777; code: MIT, github KORALLLL/AASIST_SCALING):
its weights in the published names, loaded and exported.

The network itself is `BackEnd(ModelConfig(), layers=1, features=1024)`: the default of every switch is the published form. In
the paper's order:

| step | here | published name |
|---|---|---|
| features of the encoder to an image | `nodes.FeatureNodes`: `project`, `entry` | `feature_proj`, `pre_encoder_bn` |
| six residual blocks | `nodes.ResidualBlock` | `encoder.0` to `encoder.5` |
| attention over time and over frequency makes the nodes | `nodes.FeatureNodes.attention` | `attention`, `pos_S` |
| multi-head graph attention, pooling | `graph.GraphAttention`, `graph.GraphPool` | `gat_S`, `gat_T`, `pool_S`, `pool_T` |
| two streams: Q and K by node type, a stack node | `graph.HeterogeneousAttention` | `hgat_streams`, `masters` |
| learned fusion of the streams | `fusion.AttentionFusion` | `stream_combiner_*`, `norm_*` |
| maximum, mean and stack node to two logits | `aasist.Member.readout` | `out_layer` |
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from aasist_lib.config import ModelConfig
from aasist_lib.models.aasist import BackEnd
from aasist_lib.models.published import OfficialWeightsError, faults, listed, published_name, read_state

SWITCHES = {
    "graph_attention": "multihead", "heterogeneous": "typed_qk", "fusion": "attention", "activation": "gelu",
    "readout": "linear", "layer_norm": False, "normalise": False, "members": 1,
}  # fmt: skip
"""Values of the switches and extras in the published form."""
BLOCKS = 6


def load_paper_back_end(path: Path | str) -> BackEnd:
    """Load a state dict in the names of the paper's code as a back end in eval mode. Sizes are those of the tensors.

    The tensors of an encoder in the file are not loaded: the encoder is frozen, and a profile names it.

    Args:
        path: a `.safetensors` file, or a file of `torch.save`, which is read without unpickling objects.

    Returns:
        states `(batch, 1, frames, features)` -> logits `(batch, 2)`, [spoof, bona fide].

    Raises:
        OfficialWeightsError: the file is missing or not a state dict, or its names and shapes are not the published ones.
    """
    weights = _without_encoder(read_state(Path(path)))
    try:
        config, features = _sizes(weights)
        with torch.random.fork_rng(devices=[]):  # the random values built here are all overwritten
            back_end = BackEnd(config, layers=1, features=features)
    except (KeyError, ValueError) as error:
        raise OfficialWeightsError(f"{path}: not the paper's back end: {error} cannot be read from the tensors") from error
    if found := faults(back_end.state_dict(), weights, paper_name):
        raise OfficialWeightsError(f"{path}: not the paper's back end, {listed(found)}")
    back_end.load_state_dict({name: weights[paper_name(name)] for name in back_end.state_dict()})
    return back_end.eval()


def paper_state(config: ModelConfig, back_end: BackEnd) -> dict[str, Tensor]:
    """Return a back end's tensors in the names of the paper's code.

    Raises:
        OfficialWeightsError: the back end is not in the published form; the message names the keys that differ.
    """
    own = config.model_dump()
    other = [f"model.{key} = {own[key]} (published: {value})" for key, value in SWITCHES.items() if own[key] != value]
    if len(back_end.layer_weights()) > 1:
        other.append("model.frontend.layer has several layers (published: last)")
    if other:
        raise OfficialWeightsError(f"not the paper's back end, so it has no published names: {'; '.join(other)}")
    return {paper_name(name): tensor for name, tensor in back_end.state_dict().items()}


def paper_name(name: str) -> str:
    """Return the published name of an entry of our back end's state dict."""
    return published_name(name.removeprefix("members.0."), _PLACES)


def _without_encoder(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Drop the tensors of a speech encoder: those below the top-level module that has transformer layers."""
    encoders = {name.split(".")[0] for name in weights if ".encoder.layers." in f".{name}"}
    return {name: tensor for name, tensor in weights.items() if name.split(".")[0] not in encoders}


def _sizes(weights: Mapping[str, Tensor]) -> tuple[ModelConfig, int]:
    """The configuration, and the features of the encoder, that fit the tensors."""
    projection, features = weights["feature_proj.weight"].shape
    dims = (weights["gat_S.proj_with_att.weight"].shape[0], weights["hgat_streams.0.hgat1.proj_with_att.weight"].shape[0])
    narrow, wide = (weights[f"encoder.{block}.conv1.weight"].shape[0] for block in (0, BLOCKS - 1))
    return ModelConfig(projection=projection, blocks=BLOCKS, channels=(narrow, wide), graph_dims=dims), features


_BLOCK = {"pre.0": "bn1", "conv1": "conv1", "norm": "bn2", "conv2": "conv2", "shortcut": "conv_downsample"}
_GRAPH = {"attention": "mha", "neighbours": "proj_with_att", "itself": "proj_without_att", "norm": "bn"}
_HETEROGENEOUS = {
    "embed.temporal": "proj_type1", "embed.spectral": "proj_type2",
    "query.temporal": "het_attention.to_q1", "query.spectral": "het_attention.to_q2",
    "key.temporal": "het_attention.to_k1", "key.spectral": "het_attention.to_k2",
    "value": "het_attention.to_v", "output": "het_attention.to_out",
    "neighbours": "proj_with_att", "itself": "proj_without_att", "norm": "bn",
    "stack_attention": "mha_master", "stack_neighbours": "proj_with_attM", "stack_itself": "proj_without_attM",
}  # fmt: skip
_POOL = {"score.1": "proj"}
_PLACES: dict[str, tuple[str, dict[str, str]]] = {
    "nodes.project": ("feature_proj", {}), "nodes.entry.1": ("pre_encoder_bn", {}), "nodes.exit.0": ("post_encoder_bn", {}),
    "nodes.attention": ("attention", {}), "nodes.position": ("pos_S", {}), "readout": ("out_layer", {}),
    "graph_spectral": ("gat_S", _GRAPH), "graph_temporal": ("gat_T", _GRAPH),
    "pool_spectral": ("pool_S", _POOL), "pool_temporal": ("pool_T", _POOL),
}  # fmt: skip
_PLACES |= {f"nodes.blocks.{number}": (f"encoder.{number}", _BLOCK) for number in range(BLOCKS)}
for _kind, _published in (("temporal", "T"), ("spectral", "S"), ("stack", "master")):
    _PLACES |= {
        f"fusion.{_kind}.attention": (f"stream_combiner_{_published}", {}),
        f"fusion.{_kind}.norm": (f"norm_{_published}", {}),
    }
for _stream in (0, 1):
    _PLACES |= {
        f"streams.{_stream}.stack": (f"masters.{_stream}", {}),
        f"streams.{_stream}.first": (f"hgat_streams.{_stream}.hgat1", _HETEROGENEOUS),
        f"streams.{_stream}.second": (f"hgat_streams.{_stream}.hgat2", _HETEROGENEOUS),
        f"streams.{_stream}.pool_temporal": (f"hgat_streams.{_stream}.pool_hT", _POOL),
        f"streams.{_stream}.pool_spectral": (f"hgat_streams.{_stream}.pool_hS", _POOL),
    }
