"""The original AASIST and AASIST-L (Jung et al., ICASSP 2022, arXiv 2110.01200) as settings of the switches, and the loader for
their official weights. With these the model gives the official logits.

Sinc filters -> residual encoder -> spectral and temporal graphs -> two heterogeneous streams -> maximum -> two logits.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from aasist_lib.config import FrontendConfig, ModelConfig
from aasist_lib.errors import AasistError
from aasist_lib.models.aasist import AASIST

ORIGINAL: dict[str, Any] = {
    "graph_attention": "pairwise", "heterogeneous": "type_pairs", "fusion": "max", "temperatures": (2.0, 100.0), "blocks": 6,
}  # fmt: skip
"""The switches of original AASIST, for any front end."""
AASIST_CONFIG = ModelConfig(
    frontend=FrontendConfig(kind="sinc"), channels=(32, 64), graph_dims=(64, 32), pool_ratios=(0.7, 0.5, 0.5), **ORIGINAL
)
AASIST_L_CONFIG = ModelConfig(
    frontend=FrontendConfig(kind="sinc"), channels=(32, 24), graph_dims=(24, 32), pool_ratios=(0.5, 0.4, 0.7), **ORIGINAL
)
"""The official training uses dropout 0.2 on nodes, 0.3 in pooling and 0.5 before the readout; here one key sets all."""
NAMES = {"AASIST": AASIST_CONFIG, "AASIST-L": AASIST_L_CONFIG}


class OfficialWeightsError(AasistError, ValueError):
    """The file is not an official AASIST or AASIST-L state dict; the message says what is missing or unexpected."""


def load_official_aasist(path: Path | str) -> AASIST:
    """Load an official weight file as a model in eval mode; AASIST or AASIST-L is recognised by the shapes.

    The model accepts any length from 2315 samples; `path` is read without unpickling objects.

    Raises:
        OfficialWeightsError: the file is missing or not a state dict, or its names and shapes are not the official ones.
    """
    weights = _read_state(Path(path))
    with torch.random.fork_rng(devices=[]):  # the random values built here are all overwritten
        models = {name: AASIST(config) for name, config in NAMES.items()}
    faults, name = min(((_faults(model, weights), name) for name, model in models.items()), key=lambda pair: len(pair[0]))
    model = models[name]
    if faults:
        listed = "; ".join(faults[:10]) + ("; ..." if len(faults) > 10 else "")
        raise OfficialWeightsError(f"{path}: not the official {name}, {len(faults)} differences: {listed}")
    model.load_state_dict({key: weights[official_name(key)] for key in model.state_dict()}, strict=True)
    return model.eval()


def official_name(name: str) -> str:
    """The official name of an entry of our state dict."""
    name = name.removeprefix("backend.members.0.")
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
    except Exception as error:  # the unpickler may raise anything; its advice to load unsafely is dropped
        raise OfficialWeightsError(f"{path}: not a file of tensors alone ({type(error).__name__})") from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise OfficialWeightsError(f"{path}: not a state dict (names to tensors)")
    return state


def _faults(model: AASIST, weights: dict[str, Tensor]) -> list[str]:
    """Why the weights do not fit the model; empty if they do."""
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
