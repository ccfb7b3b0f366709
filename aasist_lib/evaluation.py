"""One system's score table, evaluated: metrics with intervals, t-DCF, breakdowns, and warnings; printed and written.

What it takes is joined by `tables.join`; what it computes is in `metrics`. Nothing here is fitted or chosen.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from aasist_lib.metrics import (
    AsvRates,
    Bootstrap,
    asv_error_rates,
    bootstrap,
    breakdown,
    det_band,
    min_tdcf,
    split_classes,
    summarise,
)
from aasist_lib.runs import RunFolder, sha256
from aasist_lib.tables import AsvScores, check_sign

UNKNOWN = "-"
TDCF_FORMS: tuple[Literal["2019"], Literal["2021"]] = ("2019", "2021")


class EvaluationError(ValueError):
    """A score table that cannot be evaluated as asked; the message says what to ask instead."""


@dataclass(frozen=True)
class Evaluation:
    """Everything measured on one system. Rates are fractions, Cllr is in bits.

    `trials` counts `bonafide`, `spoof` and, where every trial has one, `speakers`; `summary` is `metrics.summarise`'s;
    `intervals` holds those of EER and minDCF; `asv` and `min_tdcf` (by form, '2019' and '2021') are there when a speaker
    verifier's scores were given; `breakdown` is `metrics.breakdown`'s table by the columns `by`.
    """

    trials: dict[str, int]
    summary: dict[str, float]
    intervals: Bootstrap
    asv: AsvRates | None
    min_tdcf: dict[str, float]
    by: tuple[str, ...]
    breakdown: pd.DataFrame | None
    groups: str | None
    warnings: tuple[str, ...]


def evaluate(
    table: pd.DataFrame,
    *,
    by: Sequence[str] = (),
    groups: str | None = None,
    asv: AsvScores | None = None,
    replicates: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Evaluation:
    """Measure a system.

    Args:
        table: `score`, `label` and the columns named in `by` and `groups`; see `tables.join`.
        by: columns whose combinations are measured one by one, such as ['attack', 'codec'].
        groups: a column, such as 'speaker', whose values the bootstrap draws instead of trials.
        asv: a speaker verifier's scores, for the t-DCF; it operates at its own EER threshold.
        replicates, confidence, seed: of the bootstrap.

    Raises:
        EvaluationError: `groups` is missing, a column is unknown ('-') where it would be needed, or all scores are equal.
        MetricError: another column is missing, a class is empty, or scores are unusable.
    """
    _check(table, by, groups)
    sign = check_sign(table)
    bonafide, spoof = split_classes(table["label"], table["score"])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        summary = summarise(bonafide, spoof)
    settings: dict[str, Any] = {"replicates": replicates, "confidence": confidence, "seed": seed}
    rates = asv_error_rates(*asv) if asv is not None else None
    return Evaluation(
        trials={"bonafide": bonafide.size, "spoof": spoof.size, **_speakers(table)},
        summary=summary,
        intervals=bootstrap(bonafide, spoof, **settings, **_drawn(table, groups)),
        asv=rates,
        min_tdcf={form: min_tdcf(bonafide, spoof, rates, form) for form in TDCF_FORMS} if rates else {},
        by=tuple(by),
        breakdown=breakdown(table, list(by), groups=groups, **settings) if by else None,
        groups=groups,
        warnings=(*([sign] if sign else []), *(str(warning.message) for warning in caught)),
    )


def format_evaluation(evaluation: Evaluation) -> str:
    """The evaluation as plain text, a row a metric and then a row a cell, for a terminal."""
    found = evaluation.intervals
    unit = "trials" if evaluation.groups is None else f"{found.units} {evaluation.groups}s"
    spread = f"{found.confidence:.0%} interval ({found.replicates} draws of {unit})"
    rates, costs = _percent(found.eer.low, found.eer.high), f"{found.min_dcf.low:.4f} – {found.min_dcf.high:.4f}"
    summary = evaluation.summary
    rows = [
        ("", "value", spread),
        *((name, str(count), "") for name, count in evaluation.trials.items()),
        ("eer", f"{summary['eer']:.3%}", rates),
        ("eer_threshold", f"{summary['eer_threshold']:.6g}", ""),
        ("min_dcf", f"{summary['min_dcf']:.4f}", costs),
        *((name, f"{summary[name]:.4f}", "") for name in ("act_dcf", "cllr", "min_cllr")),
        *((f"min_tdcf_{form}", f"{value:.4f}", "") for form, value in evaluation.min_tdcf.items()),
    ]
    text = "\n".join(f"{name:<14}{value:>12}   {interval}".rstrip() for name, value, interval in rows)
    if evaluation.breakdown is None:
        return text
    cells = evaluation.breakdown
    shown = cells[[*evaluation.by, "row", "bonafide", "spoof"]].assign(
        eer=cells["eer"].map("{:.2%}".format),
        interval=[_percent(*pair) for pair in zip(cells["eer_low"], cells["eer_high"], strict=True)],
        min_dcf=cells["min_dcf"].map("{:.4f}".format),
    )
    return f"{text}\n\n{shown.to_string(index=False)}"


def output_folder(scores: Path, out: Path | None) -> Path:
    """The folder for the results, made now: `out`, or one beside the score file, named after it.

    Raises:
        EvaluationError: it cannot be made.
    """
    folder = out if out is not None else scores.parent / f"{scores.name.split('.')[0] or scores.name}_evaluation"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EvaluationError(f"{folder}: cannot be made ({error.strerror}); name another folder with --out") from error
    return folder


def write_evaluation(
    evaluation: Evaluation, table: pd.DataFrame, folder: str | Path, sources: Mapping[str, Path] | None = None
) -> list[Path]:
    """Write `evaluation.json`, and histograms, DET curve and breakdown as `figures/*.{png,svg,pdf}`.

    Args:
        evaluation: of `table`.
        folder: made when missing; a `manifest.json` in it lists every file with its hash.
        sources: the files that were read, by role; they are noted with their hashes.

    Returns:
        the JSON file and the figures' PNG files.
    """
    run = RunFolder(folder)
    json = run.write_json("evaluation.json", _facts(evaluation, sources or {}))
    figures = _figures(evaluation, table)
    for name, (figure, alt) in figures.items():
        run.save_figure(figure, name, alt=alt)
    return [json, *(run.path("figures", f"{name}.png") for name in figures)]


def _figures(evaluation: Evaluation, table: pd.DataFrame) -> dict[str, tuple[Any, str]]:
    from aasist_lib import plots

    found, bonafide_spoof = evaluation.intervals, split_classes(table["label"], table["score"])
    band = det_band(*bonafide_spoof, confidence=found.confidence, **_drawn(table, evaluation.groups))
    eer = f"EER {found.eer.percent()}"
    histograms = plots.score_histograms(table, evaluation.summary["eer_threshold"], "Scores and the EER threshold")
    figures = {
        "scores": (histograms, f"Histograms of bona fide and spoof scores with the EER threshold; {eer}."),
        "det": (plots.det({"system": bonafide_spoof}, {"system": band}, "DET"), f"DET curve with its interval; {eer}."),
    }
    if evaluation.breakdown is not None:
        title = f"EER by {' and '.join(evaluation.by)}"
        if len(evaluation.by) == 2:
            figure = plots.breakdown_heatmap(evaluation.breakdown, *evaluation.by, title)
        else:
            figure = plots.eer_by_attack(evaluation.breakdown, title)
        figures["breakdown"] = (figure, f"{title}, pooled {found.eer.percent()}.")
    return figures


def _facts(evaluation: Evaluation, sources: Mapping[str, Path]) -> dict[str, Any]:
    found, cells = evaluation.intervals, evaluation.breakdown
    rows = cells.to_dict(orient="records") if cells is not None else []
    return {
        "sources": {role: {"path": str(path), "sha256": sha256(path)} for role, path in sources.items()},
        "trials": evaluation.trials,
        "metrics": evaluation.summary,
        "intervals": asdict(found) | {"unit": evaluation.groups or "trial"},
        "asv": evaluation.asv._asdict() if evaluation.asv else None,
        "min_tdcf": evaluation.min_tdcf,
        "breakdown": [{name: _or_none(value) for name, value in row.items()} for row in rows],
        "warnings": list(evaluation.warnings),
    }


def _check(table: pd.DataFrame, by: Sequence[str], groups: str | None) -> None:
    if len(table) > 1 and "score" in table.columns and table["score"].nunique(dropna=False) == 1:
        raise EvaluationError(
            f"all {len(table)} scores are {table['score'].iloc[0]:g}: whatever made them tells nothing apart, and there is "
            "nothing to measure; look at the detector, or at the column that was read as its score"
        )
    for column in by:
        if column in table.columns and (table[column] == UNKNOWN).all():
            raise EvaluationError(f"the key does not tell the {column} of any trial: no breakdown by {column} is possible")
    if groups is not None and groups not in table.columns:
        raise EvaluationError(f"the table has no column {groups} to draw by; it has {', '.join(map(str, table.columns))}")
    if groups is not None and (table[groups] == UNKNOWN).any():
        count = int((table[groups] == UNKNOWN).sum())
        raise EvaluationError(
            f"the key does not tell the {groups} of {count} of {len(table)} trials: draw trials instead, and say that the "
            "interval is too narrow if speakers repeat"
        )


def _speakers(table: pd.DataFrame) -> dict[str, int]:
    known = "speaker" in table.columns and (table["speaker"] != UNKNOWN).all()
    return {"speakers": int(table["speaker"].nunique())} if known else {}


def _drawn(table: pd.DataFrame, groups: str | None) -> dict[str, Any]:
    """The bootstrap's groups of each class."""
    if groups is None:
        return {}
    bonafide = table["label"] == "bonafide"
    return {"bonafide_groups": table.loc[bonafide, groups], "spoof_groups": table.loc[~bonafide, groups]}


def _percent(low: float, high: float) -> str:
    return f"{low * 100:.2f} – {high * 100:.2f} %"


def _or_none(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value
