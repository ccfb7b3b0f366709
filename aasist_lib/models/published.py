"""State dicts in the names of published code: reading them safely, and finding what is missing or has another shape."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from aasist_lib.errors import AasistError

Places = Mapping[str, tuple[str, Mapping[str, str]]]
"""Our module -> its published name, and the names of its parts: ours -> published."""


class OfficialWeightsError(AasistError, ValueError):
    """The file is not a state dict of the published code; the message says what is missing or unexpected."""


def read_state(path: Path) -> dict[str, Tensor]:
    """Read a state dict from a `.safetensors` file or any file of `torch.save`; no objects are unpickled.

    Raises:
        OfficialWeightsError: the file cannot be read, or holds anything but named tensors.
    """
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise OfficialWeightsError(f"{path}: cannot be read: {error.strerror or error}") from error
    except SafetensorError as error:
        raise OfficialWeightsError(f"{path}: not a safetensors file: {error}") from error
    except Exception as error:  # the unpickler may raise anything; its advice to load unsafely is dropped
        raise OfficialWeightsError(f"{path}: not a file of tensors alone ({type(error).__name__})") from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise OfficialWeightsError(f"{path}: not a state dict (names to tensors)")
    return state


def published_name(name: str, places: Places) -> str:
    """Return the published name of an entry of a member's state dict."""
    place, (published, parts) = _lookup(places, name)
    rest = name[len(place) :]
    if parts:
        part, published_part = _lookup(parts, rest[1:])
        published, rest = f"{published}.{published_part}", rest[1 + len(part) :]
    return published + rest


def faults(ours: Mapping[str, Tensor], weights: Mapping[str, Tensor], rename: Callable[[str], str]) -> list[str]:
    """Why published `weights` do not fit our state dict; empty if they do."""
    shapes = {rename(name): tuple(tensor.shape) for name, tensor in ours.items()}
    found = [f"missing {name}" for name in shapes if name not in weights]
    found += [f"unexpected {name}" for name in weights if name not in shapes]
    for name, shape in shapes.items():
        if name in weights and tuple(weights[name].shape) != shape:
            found.append(f"{name} has shape {tuple(weights[name].shape)}, not {shape}")
    return found


def listed(found: list[str]) -> str:
    """The first ten faults, for a message."""
    return f"{len(found)} differences: " + "; ".join(found[:10]) + ("; ..." if len(found) > 10 else "")


def _lookup(table: Mapping[str, object], name: str) -> tuple:
    for key, value in table.items():
        if name == key or name.startswith(key + "."):
            return key, value
    raise KeyError(name)
