"""Checkpoints: trainable weights as one safetensors file whose header says what they belong to.

The frozen encoder is not stored: its name, revision, layers and sha256 are, and loading checks them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from aasist_lib.config import ModelConfig
from aasist_lib.models import AASIST, build_model
from aasist_lib.runs import atomic

FILE = "model.safetensors"


class CheckpointError(ValueError):
    """A checkpoint that is absent or belongs to another model or encoder; the message says which."""


def save_checkpoint(folder: Path, weights: dict[str, torch.Tensor], facts: dict[str, Any]) -> Path:
    """Write `folder/model.safetensors` atomically.

    Args:
        folder: made when missing.
        weights: the back end's state dict.
        facts: JSON values; `model` (a `ModelConfig` dump) and `encoder` (`FrozenEncoder.identity()`) are needed to load.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    with atomic(folder / FILE) as file:
        save_file(tensors, file, metadata={"facts": json.dumps(facts)})
    return folder / FILE


def read_facts(folder: Path) -> dict[str, Any]:
    """What a checkpoint says of itself: model, encoder, epoch, dev EER, threshold, …

    Raises:
        CheckpointError: no checkpoint there, or not one of ours.
    """
    file = Path(folder) / FILE
    if not file.is_file():
        raise CheckpointError(f"{file}: no such checkpoint; train first (notebook 03, or python -m aasist_lib train)")
    try:
        with safe_open(file, "pt") as archive:
            return json.loads(archive.metadata()["facts"])
    except (SafetensorError, KeyError, TypeError) as error:
        raise CheckpointError(f"{file}: not a checkpoint of this workbook: {error}") from error


def load_model(folder: Path, model: AASIST | None = None) -> tuple[AASIST, dict[str, Any]]:
    """The detector of a checkpoint, in eval mode, and its facts.

    Args:
        folder: holds `model.safetensors`.
        model: put the weights into this one instead of building it (its encoder is checked all the same).

    Raises:
        CheckpointError: architecture or encoder differ.
    """
    facts = read_facts(folder)
    model = model or build_model(ModelConfig.model_validate(facts["model"]))
    found, expected = model.frontend.identity()["sha256"], facts["encoder"]["sha256"]
    if found != expected:
        raise CheckpointError(
            f"{folder}: trained on features of encoder {facts['encoder']['name']} with sha256 {expected[:12]}…, "
            f"but {model.frontend.name} here has {found[:12]}…"
        )
    with safe_open(Path(folder) / FILE, "pt") as archive:
        weights = {name: archive.get_tensor(name) for name in archive.keys()}  # noqa: SIM118
    try:
        model.backend.load_state_dict(weights)
    except RuntimeError as error:
        raise CheckpointError(f"{folder}: the weights are of another architecture: {error}") from error
    return model.eval(), facts
