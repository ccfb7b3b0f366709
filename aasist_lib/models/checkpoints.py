"""Checkpoints: the trained weights in one safetensors file, whose header describes the model.

A frozen encoder is not stored; its name, revision, layers and sha256 are, and loading checks them. The back end's weights have
their own names, those of a fine-tuned encoder the prefix `frontend.`; the sha256 is that of the pretrained weights. At the end
of a training the detector's `Typicality` is added, with the prefix `typicality.`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from aasist_lib.config import ModelConfig
from aasist_lib.errors import AasistError
from aasist_lib.models import AASIST, build_model
from aasist_lib.models.paper import paper_state
from aasist_lib.models.typicality import Typicality
from aasist_lib.runtime.files import atomic

FILE = "model.safetensors"
BEST, STATE = "best", "last.pt"
"""Names in a run's `checkpoints/`: the best checkpoint's folder, and the file from which training resumes."""
FRONTEND = "frontend."
"""Prefix of the names of a fine-tuned encoder's tensors."""
TYPICALITY = "typicality."
"""Prefix of the names of the tensors of `Typicality`."""


class CheckpointError(AasistError, ValueError):
    """A checkpoint is missing or belongs to another model or encoder; the message says which."""


def trained_weights(model: AASIST) -> dict[str, Tensor]:
    """The tensors that a checkpoint of the model stores: the back end's state and the fine-tuned part of the encoder."""
    return {**model.backend.state_dict(), **{FRONTEND + name: p.detach() for name, p in _tuned(model).items()}}


@torch.no_grad()
def put_weights(model: AASIST, weights: dict[str, Tensor]) -> None:
    """Load the output of `trained_weights` into a model of the same configuration.

    Raises:
        CheckpointError: names or shapes differ.
    """
    tuned = _tuned(model)
    given = {name.removeprefix(FRONTEND): tensor for name, tensor in weights.items() if name.startswith(FRONTEND)}
    here, there = ({(name, tuple(tensor.shape)) for name, tensor in part.items()} for part in (tuned, given))
    if here != there:
        raise CheckpointError(
            f"made with {len(there)} fine-tuned tensors of the encoder, this model has {len(here)}; the first to differ is "
            f"{min(here ^ there)[0]}: give model.frontend.finetune the value it was trained with"
        )
    try:
        model.backend.load_state_dict({name: tensor for name, tensor in weights.items() if not name.startswith(FRONTEND)})
    except RuntimeError as error:
        raise CheckpointError(f"the weights are of another architecture: {error}") from error
    for name, parameter in tuned.items():
        parameter.copy_(given[name])


def _tuned(model: AASIST) -> dict[str, Tensor]:
    return {name: parameter for name, parameter in model.frontend.named_parameters() if parameter.requires_grad}


def save_checkpoint(folder: Path, weights: dict[str, Tensor], facts: dict[str, Any]) -> Path:
    """Write `folder/model.safetensors` atomically.

    Args:
        folder: created if missing.
        weights: from `trained_weights`.
        facts: JSON values; `model` (a `ModelConfig` dump) and `encoder` (the front end's `identity()`) are needed to load.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    with atomic(folder / FILE) as file:
        file.write_bytes(save(tensors, metadata={"facts": json.dumps(facts)}))
    return folder / FILE


def add_to_checkpoint(folder: Path, facts: dict[str, Any], typicality: Typicality | None = None) -> None:
    """Add or replace facts, and a `Typicality` if one is given; atomically.

    Raises:
        CheckpointError: there is no checkpoint.
    """
    added = typicality.state_dict() if typicality is not None else {}
    tensors = read_tensors(folder) | {TYPICALITY + name: tensor for name, tensor in added.items()}
    save_checkpoint(folder, tensors, read_facts(folder) | facts)


def load_typicality(folder: Path) -> Typicality | None:
    """The `Typicality` of a checkpoint; None if its training has not come to its end.

    Raises:
        CheckpointError: there is no checkpoint.
    """
    tensors = read_tensors(folder, keep=lambda name: name.startswith(TYPICALITY))
    state = {name.removeprefix(TYPICALITY): tensor for name, tensor in tensors.items()}
    return Typicality.from_state(state) if state else None


def read_tensors(folder: Path, keep: Callable[[str], bool] = lambda name: True) -> dict[str, Tensor]:
    """The tensors of a checkpoint whose names `keep` accepts.

    Raises:
        CheckpointError: there is no checkpoint, or not one of this workbook.
    """
    read_facts(folder)
    with safe_open(Path(folder) / FILE, "pt") as archive:
        return {name: archive.get_tensor(name) for name in archive.keys() if keep(name)}  # noqa: SIM118


def export_paper(model: AASIST, path: Path | str) -> Path:
    """Write the back end's weights in the names of the paper's code, as a safetensors file for `load_paper_back_end`.

    Raises:
        OfficialWeightsError: the back end is not in the published form; the message names the keys that differ.
    """
    tensors = {name: tensor.cpu().contiguous() for name, tensor in paper_state(model.config, model.backend).items()}
    with atomic(Path(path)) as file:
        file.write_bytes(save(tensors))
    return Path(path)


def read_facts(folder: Path) -> dict[str, Any]:
    """The facts stored in a checkpoint: model, encoder, epoch, dev EER, threshold, …

    Raises:
        CheckpointError: the folder has no checkpoint, or not one of this workbook.
    """
    file = Path(folder) / FILE
    if not file.is_file():
        raise CheckpointError(f"{file}: no such checkpoint; train first (notebook 03, or python -m aasist_lib train)")
    try:
        with safe_open(file, "pt") as archive:
            facts = json.loads(archive.metadata()["facts"])
    except (SafetensorError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{file}: not a checkpoint of this workbook: {error}") from error
    if not isinstance(facts, dict) or not all(isinstance(facts.get(key), dict) for key in ("model", "encoder")):
        raise CheckpointError(f"{file}: not a checkpoint of this workbook: it does not say what model and encoder it is of")
    return facts


def save_state(file: Path, state: dict[str, Any]) -> None:
    """Write the state of a training atomically: tensors and plain values, for `read_state`; `key` is needed there.

    The archive is built in memory: if PyTorch's writer is interrupted while it writes to a file, it aborts the whole process.
    """
    stream = BytesIO()
    torch.save(state, stream)
    with atomic(file) as temporary:
        temporary.write_bytes(stream.getbuffer())


def read_state(file: Path) -> dict[str, Any]:
    """Read the output of `save_state`: tensors and plain values. No objects are unpickled, so no code can run.

    Raises:
        CheckpointError: the file is damaged, or holds anything else.
    """
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # the unpickler may raise anything; its advice to load unsafely is dropped
        raise CheckpointError(
            f"{file}: damaged, or contains objects other than tensors and plain values ({type(error).__name__}); "
            "delete it to start anew"
        ) from error
    if not isinstance(state, dict) or "key" not in state:
        raise CheckpointError(f"{file}: not the state of a training of this workbook; delete it to start anew")
    return state


def put_aside(folder: Path, now: datetime | None = None) -> Path:
    """Move the best checkpoint and the state in `folder` to `folder/before-<time>`; return that folder."""
    stamp = (now or datetime.now(UTC)).strftime("%Y-%m-%d-%H%M%S")
    names = [f"before-{stamp}", *(f"before-{stamp}-{number}" for number in range(2, 1000))]
    aside = next(folder / name for name in names if not (folder / name).exists())
    aside.mkdir(parents=True)
    for name in (BEST, STATE):
        if (folder / name).exists():
            os.replace(folder / name, aside / name)
    return aside


def load_model(folder: Path, model: AASIST | None = None) -> tuple[AASIST, dict[str, Any]]:
    """Load a checkpoint: the detector in eval mode, and its facts.

    Args:
        folder: holds `model.safetensors`.
        model: load the weights into this model instead of building one; its encoder is checked too.

    Raises:
        CheckpointError: architecture, encoder, or the part of it that is fine-tuned differ.
    """
    facts = read_facts(folder)
    model = model or build_model(ModelConfig.model_validate(facts["model"]))
    found, expected = model.frontend.identity()["sha256"], facts["encoder"]["sha256"]
    if found != expected:
        raise CheckpointError(
            f"{folder}: trained on features of encoder {facts['encoder']['name']} with sha256 {expected[:12]}…, "
            f"but {model.frontend.name} here has {found[:12]}…: set model.frontend.name and revision to that encoder (kind and "
            "layers as in training; a local folder must hold the same files), or train again"
        )
    weights = read_tensors(folder, keep=lambda name: not name.startswith(TYPICALITY))
    try:
        put_weights(model, weights)
    except CheckpointError as error:
        raise CheckpointError(f"{folder}: {error}") from error
    return model.eval(), facts
