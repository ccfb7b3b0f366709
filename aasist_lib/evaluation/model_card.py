"""A model card in the hub's form, made from a checkpoint's facts and its score tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from huggingface_hub import EvalResult, ModelCardData

from aasist_lib.conventions import UNKNOWN
from aasist_lib.metrics import results_table
from aasist_lib.metrics.tables import breakdown

WORST = 3
"""Number of the worst cells that the card names."""
CARD = """---
{head}
---

# {title}

Decides whether a recording of speech is bona fide or a spoof (synthetic, converted, or copied by a vocoder). Made for teaching
and for trying the workbook: **do not base a decision about a person on its scores.**

    python -m aasist_lib score talk.m4a

## Data

Trained on {bonafide} bona fide and {spoof} spoofed clips, of {speakers} bona fide speakers, corpus `{corpus}`; encoder
`{encoder}`, frozen. Attacks in training: {names}.

{sources}

## Results

EERs with 95 % bootstrap intervals over trials. *Known* attacks are those of training. The checkpoint was chosen on dev, so its
figures are optimistic.

{results}

By attack, on eval:

{cells}

**The worst {count} cells** ({by}):

{worst}

## Limits

{limits}
"""
ELSEWHERE = """

**On {clips} clips from elsewhere, with fakes by many of today's systems, it is close to guessing**: EER {eer:.1%}, Cllr
{cllr:.2f}. It leaves {undecided:.0%} of the clips undecided; of the others it finds {spoof_found:.0%} of the spoofs and keeps
{bonafide_kept:.0%} of the bona fide. Sources and command: *Fakes from elsewhere* in `docs/results.md`."""


def model_card(
    facts: dict[str, Any], tables: Mapping[str, pd.DataFrame], licence: str, sources: str, *,
    encoder: str | None = None, replicates: int = 1000,
) -> str:  # fmt: skip
    """Markdown of a model card, with the YAML head that the Hugging Face hub reads.

    Args:
        facts: of the checkpoint, see `models.checkpoints.read_facts`.
        tables: score tables of 'dev' and 'eval'.
        licence: identifier of the weights' licence, such as 'mit'.
        sources: Markdown on the recordings and their licences.
        encoder: the encoder's name on the hub, if the checkpoint names a folder.
        replicates: bootstrap replicates of the intervals.
    """
    on, known, test = facts["trained_on"], set(facts["trained_on"]["attacks"]), tables["eval"]
    scores = {("detector", split): table for split, table in tables.items()}
    results = results_table(scores, known, {"detector": on["title"]}, replicates=replicates)
    by = ["attack", *(name for name in ("codec", "gender", "language") if _varies(test, name))]
    worst = _cells(test, by, known).sort_values("EER", ascending=False).head(WORST)
    return CARD.format(
        head=_head(facts, results, licence, encoder).to_yaml(), **on, encoder=facts["encoder"]["name"],
        names=", ".join(f"`{name}`" for name in sorted(known)), sources=sources, by=" × ".join(by), count=len(worst),
        results=_markdown(results, ["split", "attacks", "EER", "low", "high", "min DCF"]),
        cells=_markdown(_cells(test, ["attack"], known), ["attack", "seen", "bonafide", "spoof", "EER"]),
        worst=_markdown(worst, [*by, "bonafide", "spoof", "EER"]), limits=_limits(facts),
    )  # fmt: skip


def _head(facts: dict[str, Any], results: pd.DataFrame, licence: str, encoder: str | None) -> ModelCardData:
    on = facts["trained_on"]
    return ModelCardData(
        license=licence, library_name="aasist-workbook", pipeline_tag="audio-classification", model_name=on["title"],
        base_model=encoder or facts["encoder"]["name"], metrics=["eer"],
        tags=["audio", "deepfake-detection", "anti-spoofing", "aasist"],
        eval_results=[
            EvalResult(
                task_type="audio-classification", dataset_type=on["corpus"], dataset_config=row["attacks"],
                dataset_name=f"{on['corpus']}, {row['split']}, {row['attacks']} attacks", dataset_split=row["split"],
                metric_type="eer", metric_name="EER, %", metric_value=round(100 * row["EER"], 2),
            )
            for row in results.to_dict("records")
        ],
    )  # fmt: skip


def _limits(facts: dict[str, Any]) -> str:
    fitted, typical = facts["calibration"], facts.get("typicality")
    by = f" of family {fitted['left_out']}, scored by a detector trained without it," if "left_out" in fitted else ""
    return (
        f"Likelihood ratios were fitted on {fitted['bonafide']} bona fide and {fitted['spoof']} spoofed dev clips{by} and are "
        f"capped at ±{fitted['bound']:.1f}. "
        + (
            f"What is unlike the {typical['clips']} train clips that its typicality was fitted to is left undecided. "
            if typical
            else ""
        )
        + "Other voices, languages, microphones, codecs and attacks give far more errors than these tables."
        + (ELSEWHERE.format(**facts["elsewhere"]) if "elsewhere" in facts else "")
    )


def _varies(table: pd.DataFrame, name: str) -> bool:
    """Whether bona fide trials have several known values in a column."""
    values = table.loc[table["label"] == "bonafide", name] if name in table else pd.Series(dtype=str)
    return len(set(values) - {UNKNOWN}) > 1


def _cells(table: pd.DataFrame, by: list[str], known: set[str]) -> pd.DataFrame:
    found = breakdown(table, by, known=known, replicates=1).rename(columns={"eer": "EER"})
    return found[found["row"] == "cell"]


def _markdown(table: pd.DataFrame, columns: list[str]) -> str:
    percent, lines = {"EER", "low", "high"}, [columns, ["---"] * len(columns)]
    for row in table[columns].to_dict("records"):
        lines.append([f"{row[name]:.1%}" if name in percent else f"{row[name]:.4g}" if isinstance(row[name], float)
                      else str(row[name]) for name in columns])  # fmt: skip
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
