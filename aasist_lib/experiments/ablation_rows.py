"""The rows of the ablation: each a list of overrides on a profile. A new row is one line of `ROWS`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aasist_lib.models.original import ORIGINAL
from aasist_lib.models.paper import SWITCHES


@dataclass(frozen=True)
class Row:
    """One line of the table. `overrides` set every switch, so no row depends on another or on the profile's own switches.

    `against` names the rows it is compared with, if they are in the table. `quoted` is the key in docs/paper.csv of the EER
    that the paper has for it: single runs, on ASVspoof 5, and mostly known from digests only.
    """

    title: str
    overrides: tuple[str, ...]
    against: tuple[str, ...] = ()
    quoted: str = ""
    baseline: bool = False
    probe: bool = False


_ORIGINAL = {f"model.{key}": value for key, value in ORIGINAL.items() if key in SWITCHES} | {
    "model.frontend.kind": "encoder", "model.frontend.finetune": 0, "model.readout": "linear", "loss.kind": "ce",
    "augmentation.rise": "false", "loss.ranking": 0, "training.batches": "random",
}  # fmt: skip
_FROM_AUDIO = {"training.feature_cache": "false", "training.crop_frames": "null"}
_ATTENTION = {"model.graph_attention": "multihead", "model.heterogeneous": "typed_qk"}
_FUSION = {"model.fusion": "attention"}
_EVEN = {"loss.class_weights": "[0.5, 0.5]"}  # their batches have as many clips of both classes
_PAPER = {f"model.{key}": SWITCHES[key] for key in ("graph_attention", "heterogeneous", "fusion", "activation")}
_SINC = _FROM_AUDIO | {
    "model.frontend.kind": "sinc", "model.channels": "[32, 64]", "model.blocks": 6, "model.graph_dims": "[64, 32]",
    "model.pool_ratios": "[0.7, 0.5, 0.5]",
}  # fmt: skip
_LFCC = {"model.frontend.kind": "lfcc", "model.layer_norm": "true", "training.crop_frames": "null"}


def _switched(changes: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(f"{key}={value}" for key, value in (_ORIGINAL | dict(changes)).items())


ROWS: dict[str, Row] = {
    "sinc": Row("original AASIST, from the waveform", _switched(_SINC), (), "eer_sinc"),
    "finetuned": Row(
        "original back end, encoder trained", _switched(_FROM_AUDIO | {"model.frontend.finetune": "all"}), ("sinc",),
        "eer_finetuned",
    ),
    "frozen": Row("original back end, encoder frozen", _switched({}), ("finetuned",), "eer_frozen"),
    "attention": Row("multi-head attention, Q and K by node type", _switched(_ATTENTION), ("frozen",), "eer_attention"),
    "fusion": Row("learned fusion alone", _switched(_FUSION), ("frozen",), "eer_fusion"),
    "attention_fusion": Row("both", _switched(_ATTENTION | _FUSION), ("attention", "fusion")),
    "balanced": Row(
        "both, batches balanced over speakers and attacks",
        _switched(_ATTENTION | _FUSION | _EVEN | {"training.batches": "balanced"}), ("attention_fusion",),
    ),
    "pairs": Row(
        "both, a recording beside its copy, ranking loss",
        _switched(_ATTENTION | _FUSION | _EVEN | {"training.batches": "pairs", "loss.ranking": 1}),
        ("balanced", "attention_fusion"),
    ),
    "paper": Row("both, as published (GELU)", _switched(_PAPER), ("attention_fusion", "frozen"), "eer_all"),
    "hybrid": Row("published, hybrid loss", _switched(_PAPER | {"loss.kind": "hybrid"}), ("paper",)),
    "rising": Row(
        "published, hybrid loss, rising distortions",
        _switched(_PAPER | {"loss.kind": "hybrid", "augmentation.rise": "true"}), ("hybrid", "paper"),
    ),
    "probe": Row("linear probe on pooled frozen features", _switched({}), baseline=True, probe=True),
    "lfcc": Row("LFCC, original back end", _switched(_LFCC), baseline=True),
}  # fmt: skip
"""It is not known whether the paper added its changes one by one or all to the frozen encoder, so both designs are here: one at
a time (`attention` and `fusion`, each against `frozen`), and cumulative (`frozen`, `attention`, `attention_fusion`, `paper`).
The loss switch and the rising distortions come last: the paper credits them with nothing. `crop_frames` counts an encoder's
frames, so rows with other frames train on whole clips; `sinc` has the official sizes."""
