"""The original AASIST and AASIST-L (Jung et al., ICASSP 2022, arXiv 2110.01200) as settings of the switches, and the loader for
their official weights. With these the model gives the official logits.

Sinc filters -> residual encoder -> spectral and temporal graphs -> two heterogeneous streams -> maximum -> two logits.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from aasist_lib.config import FrontendConfig, ModelConfig
from aasist_lib.models.aasist import AASIST
from aasist_lib.models.published import OfficialWeightsError, faults, listed, published_name, read_state

ORIGINAL: dict[str, Any] = {
    "graph_attention": "pairwise", "heterogeneous": "type_pairs", "fusion": "max", "activation": "selu",
    "temperatures": (2.0, 100.0), "blocks": 6,
}  # fmt: skip
"""The switches of original AASIST, for any front end."""
AASIST_CONFIG = ModelConfig(
    frontend=FrontendConfig(kind="sinc"), channels=(32, 64), graph_dims=(64, 32), pool_ratios=(0.7, 0.5, 0.5), **ORIGINAL
)
AASIST_L_CONFIG = ModelConfig(
    frontend=FrontendConfig(kind="sinc"), channels=(32, 24), graph_dims=(24, 32), pool_ratios=(0.5, 0.4, 0.7), **ORIGINAL
)
NAMES = {"AASIST": AASIST_CONFIG, "AASIST-L": AASIST_L_CONFIG}


def load_official_aasist(path: Path | str) -> AASIST:
    """Load an official weight file as a model in eval mode; AASIST or AASIST-L is recognised by the shapes.

    The model accepts any length from 2315 samples; `path` is read without unpickling objects.

    Raises:
        OfficialWeightsError: the file is missing or not a state dict, or its names and shapes are not the official ones.
    """
    weights = read_state(Path(path))
    with torch.random.fork_rng(devices=[]):  # the random values built here are all overwritten
        models = {name: AASIST(config) for name, config in NAMES.items()}
    each = [(faults(model.state_dict(), weights, official_name), name) for name, model in models.items()]
    found, name = min(each, key=lambda pair: len(pair[0]))
    if found:
        raise OfficialWeightsError(f"{path}: not the official {name}, {listed(found)}")
    model = models[name]
    model.load_state_dict({key: weights[official_name(key)] for key in model.state_dict()}, strict=True)
    return model.eval()


def official_name(name: str) -> str:
    """Return the official name of an entry of our state dict."""
    return published_name(name.removeprefix("backend.members.0."), _PLACES)


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
    "nodes.norm": ("first_bn", {}), "nodes.position": ("pos_S", {}), "readout": ("out_layer", {}),
    "graph_spectral": ("GAT_layer_S", _GRAPH), "graph_temporal": ("GAT_layer_T", _GRAPH),
    "pool_spectral": ("pool_S", _POOL), "pool_temporal": ("pool_T", _POOL),
}  # fmt: skip
_PLACES |= {f"nodes.blocks.{number}": (f"encoder.{number}.0", _BLOCK) for number in range(ORIGINAL["blocks"])}
for _stream in (1, 2):
    _PLACES |= {
        f"streams.{_stream - 1}.stack": (f"master{_stream}", {}),
        f"streams.{_stream - 1}.first": (f"HtrgGAT_layer_ST{_stream}1", _STREAM),
        f"streams.{_stream - 1}.second": (f"HtrgGAT_layer_ST{_stream}2", _STREAM),
        f"streams.{_stream - 1}.pool_temporal": (f"pool_hT{_stream}", _POOL),
        f"streams.{_stream - 1}.pool_spectral": (f"pool_hS{_stream}", _POOL),
    }
