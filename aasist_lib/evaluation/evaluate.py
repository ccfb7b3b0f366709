"""Evaluation of a score table: metrics with intervals, t-DCF, breakdowns and warnings, as text, JSON and figures.

Input is joined by `matching.join`; the computation is in `metrics`. Nothing is fitted or chosen here.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from aasist_lib.conventions import UNKNOWN
from aasist_lib.errors import AasistError
from aasist_lib.evaluation.asv import AsvScores
from aasist_lib.evaluation.matching import check_sign
from aasist_lib.metrics import (
    ASVSPOOF_COSTS,
    AsvRates,
    Bootstrap,
    OperatingPoint,
    PairedBootstrap,
    ScoreWarning,
    asv_error_rates,
    bonafide_mask,
    bootstrap,
    breakdown,
    det_band,
    min_a_dcf,
    min_tdcf,
    operating_point,
    paired_bootstrap,
    split_classes,
    summarise,
)
from aasist_lib.runtime.files import sha256
from aasist_lib.runtime.run_folder import RunFolder

TDCF_FORMS: tuple[Literal["2019"], Literal["2021"]] = ("2019", "2021")


class EvaluationError(AasistError, ValueError):
    """A score table cannot be evaluated as requested; the message says what to do instead."""


@dataclass(frozen=True)
class Evaluation:
    """All results for one system. Rates are fractions, Cllr is in bits.

    `trials` counts `bonafide`, `spoof` and, if all are known, `speakers`. `summary` is the result of `metrics.summarise` and
    `intervals` holds the intervals of EER and minDCF; both are None if there is only one class. `operating` holds the error
    rates at a threshold chosen beforehand. `asv` and `min_tdcf` (by form, '2019' and '2021') are set if ASV scores were given,
    `min_a_dcf` if scores of the joint system were. `breakdown` is the table of `metrics.breakdown` by the columns `by`.
    """

    trials: dict[str, int]
    summary: dict[str, float] | None
    intervals: Bootstrap | None
    operating: OperatingPoint | None
    asv: AsvRates | None
    min_tdcf: dict[str, float]
    min_a_dcf: float | None
    by: tuple[str, ...]
    breakdown: pd.DataFrame | None
    groups: str | None
    warnings: tuple[str, ...]


def evaluate(
    table: pd.DataFrame,
    *,
    by: Sequence[str] = (),
    groups: str | None = None,
    threshold: float | None = None,
    asv: AsvScores | None = None,
    sasv: AsvScores | None = None,
    replicates: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Evaluation:
    """Evaluate a system.

    Args:
        table: `score`, `label` and the columns named in `by` and `groups`; see `matching.join`.
        by: columns for the breakdown, such as ['attack', 'codec']; each combination of values is one cell.
        groups: a column, such as 'speaker', whose values the bootstrap resamples instead of trials.
        threshold: a threshold chosen on dev; required if the table has only one class.
        asv: ASV scores, for the t-DCF; the ASV system operates at its own EER threshold.
        sasv: joint scores of ASV and countermeasure, for the a-DCF at the challenges' costs.
        replicates, confidence, seed: bootstrap settings.

    Raises:
        EvaluationError: `groups` is missing, a required column has unknown values ('-'), all scores are equal, or there is only
            one class and no threshold.
        MetricError: another column is missing, or scores are unusable.
    """
    is_bonafide = bonafide_mask(table["label"])
    if is_bonafide.all() or not is_bonafide.any():
        return _one_class(table, threshold, confidence, by, groups)
    _check(table, by, groups)
    sign = check_sign(table)
    bonafide, spoof = split_classes(table["label"], table["score"])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        summary = summarise(bonafide, spoof)
    for other in caught:
        if not issubclass(other.category, ScoreWarning):  # another package's warning is passed on
            warnings.warn_explicit(other.message, other.category, other.filename, other.lineno)
    settings: dict[str, Any] = {"replicates": replicates, "confidence": confidence, "seed": seed}
    rates = asv_error_rates(*asv) if asv is not None else None
    return Evaluation(
        trials={"bonafide": bonafide.size, "spoof": spoof.size, **_speakers(table)},
        summary=summary,
        intervals=bootstrap(bonafide, spoof, **settings, **_drawn(table, groups)),
        operating=None if threshold is None else operating_point(bonafide, spoof, threshold, confidence),
        asv=rates,
        min_tdcf={form: min_tdcf(bonafide, spoof, rates, form) for form in TDCF_FORMS} if rates else {},
        min_a_dcf=min_a_dcf(*sasv, ASVSPOOF_COSTS) if sasv is not None else None,
        by=tuple(by),
        breakdown=breakdown(table, list(by), groups=groups, threshold=threshold, **settings) if by else None,
        groups=groups,
        warnings=(
            *([sign] if sign else []),
            *(str(warning.message) for warning in caught if issubclass(warning.category, ScoreWarning)),
        ),
    )


def _one_class(
    table: pd.DataFrame, threshold: float | None, confidence: float, by: Sequence[str], groups: str | None
) -> Evaluation:
    label = table["label"].iloc[0]
    what = "detection rate (1 - FAR)" if label == "spoof" else "false alarm rate (FRR)"
    if threshold is None:
        raise EvaluationError(
            f"all {len(table)} trials are {label}: an EER needs both classes. For the {what} at a threshold, add "
            "--threshold T, or the scores that the threshold was chosen on: --dev-scores FILE --dev-key FILE"
        )
    if by or groups:
        raise EvaluationError(f"all {len(table)} trials are {label}: no breakdown or bootstrap; leave out --by and --bootstrap")
    scores = table["score"].to_numpy()
    classes = ([], scores) if label == "spoof" else (scores, [])
    trials = {"bonafide": len(classes[0]), "spoof": len(classes[1]), **_speakers(table)}
    return Evaluation(trials, None, None, operating_point(*classes, threshold, confidence), None, {}, None, (), None, None, ())


def compare(table: pd.DataFrame, other: pd.DataFrame, groups: str | None = None, **settings: Any) -> PairedBootstrap:
    """Compare two systems on the same trials: paired bootstrap of their differences, first minus second.

    Args:
        table, other: joined with the same key, so the rows are the same trials.
        groups: as `evaluate`.
        settings: `replicates`, `confidence` and `seed`.

    Raises:
        EvaluationError: the trials differ.
        MetricError: as `metrics.paired_bootstrap`.
    """
    if list(table["utt_id"]) != list(other["utt_id"]):
        only = len(set(table["utt_id"]) ^ set(other["utt_id"]))
        raise EvaluationError(f"the two score files have different trials: {only} are in only one of them")
    drawn = None if groups is None else table[groups]
    return paired_bootstrap(table["label"], table["score"], other["score"], drawn, **settings)


# ---- text ------------------------------------------------------------------------------------------------------------


def format_evaluation(evaluation: Evaluation) -> str:
    """Format the evaluation as plain text: one row per metric, then one row per breakdown cell."""
    found = evaluation.intervals
    rows = [("", "value", ""), *((name, str(count), "") for name, count in evaluation.trials.items())]
    if found is not None and evaluation.summary is not None:
        unit = "trials" if evaluation.groups is None else f"{found.units} {evaluation.groups}s"
        rows[0] = ("", "value", f"{found.confidence:.0%} interval ({found.replicates} draws of {unit})")
        rates, costs = _percent(found.eer.low, found.eer.high), f"{found.min_dcf.low:.4f} – {found.min_dcf.high:.4f}"
        summary = evaluation.summary
        rows += [
            ("eer", f"{summary['eer']:.3%}", rates),
            ("eer_threshold", f"{summary['eer_threshold']:.6g}", ""),
            ("min_dcf", f"{summary['min_dcf']:.4f}", costs),
            *((name, f"{summary[name]:.4f}", "") for name in ("act_dcf", "cllr", "min_cllr")),
        ]
    rows += [(f"min_tdcf_{form}", f"{value:.4f}", "") for form, value in evaluation.min_tdcf.items()]
    if evaluation.min_a_dcf is not None:
        rows.append(("min_a_dcf", f"{evaluation.min_a_dcf:.4f}", ""))
    text = "\n".join(f"{name:<14}{value:>12}   {interval}".rstrip() for name, value, interval in rows)
    if evaluation.operating is not None:
        text += f"\n\n{_format_operating(evaluation.operating)}"
    if evaluation.breakdown is None:
        return text
    cells = evaluation.breakdown
    shown = cells[[*evaluation.by, "row", "bonafide", "spoof"]].assign(
        eer=cells["eer"].map("{:.2%}".format),
        interval=[_percent(*pair) for pair in zip(cells["eer_low"], cells["eer_high"], strict=True)],
        **{name: cells[name].map("{:.2%}".format) for name in ("frr", "far", "hter") if name in cells},
        min_dcf=cells["min_dcf"].map("{:.4f}".format),
    )
    return f"{text}\n\n{shown.to_string(index=False)}"


def _format_operating(found: OperatingPoint) -> str:
    rows = [("at the threshold", f"{found.threshold:.6g}", "exact interval")]
    names = {"frr": "bona fide rejected", "far": "spoof accepted"}
    for name, meaning in names.items():
        if (rate := getattr(found, name)) is not None:
            rows.append((f"{name} ({meaning})", f"{rate.value:.3%}", _percent(rate.low, rate.high)))
    if found.hter is not None:
        rows.append(("hter (their mean)", f"{found.hter:.3%}", ""))
    elif found.far is not None:
        low, high = 1 - found.far.high, 1 - found.far.low
        rows.append(("detected (1 - far)", f"{1 - found.far.value:.3%}", _percent(low, high)))
    return "\n".join(f"{name:<26}{value:>10}   {interval}".rstrip() for name, value, interval in rows)


def format_comparison(found: PairedBootstrap, names: tuple[str, str]) -> str:
    """Format a paired comparison as plain text: both systems, and the difference, first minus second."""
    rows = [("", "EER", "minDCF")]
    for name, eer, dcf in ((names[0], found.eer_a, found.min_dcf_a), (names[1], found.eer_b, found.min_dcf_b)):
        rows.append(
            (name, f"{eer.value:.3%} ({_percent(eer.low, eer.high)})", f"{dcf.value:.4f} ({dcf.low:.4f} – {dcf.high:.4f})")
        )
    eer, dcf = found.eer_difference, found.min_dcf_difference
    rows.append(("difference", f"{eer.value:+.3%} ({_percent(eer.low, eer.high)})",
                 f"{dcf.value:+.4f} ({dcf.low:+.4f} – {dcf.high:+.4f})"))  # fmt: skip
    rows.append(("p", f"{found.eer_p_value:.3f}", f"{found.min_dcf_p_value:.3f}"))
    widths = [max(len(row[place]) for row in rows) for place in range(3)]
    drawn = f"paired bootstrap over {found.units} {found.unit}s"
    return (
        drawn + "\n" + "\n".join("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows)
    )


# ---- files -----------------------------------------------------------------------------------------------------------


def write_evaluation(
    evaluation: Evaluation,
    table: pd.DataFrame,
    run: RunFolder,
    sources: Mapping[str, Path] | None = None,
    against: PairedBootstrap | None = None,
) -> list[Path]:
    """Write `evaluation.json`, and score histograms, DET curve and breakdown as `figures/*.{png,svg,pdf}`.

    Args:
        evaluation: the evaluation of `table`.
        run: from `RunFolder.of_evaluation`; its `manifest.json` lists every file with its hash.
        sources: the input files by role; recorded with their hashes.
        against: a comparison with another system.

    Returns:
        the JSON file and the figures' PNG files.
    """
    facts = _facts(evaluation, sources or {}) | ({"against": asdict(against)} if against else {})
    json = run.write_json("evaluation.json", facts)
    figures = _figures(evaluation, table)
    for name, (figure, alt) in figures.items():
        run.save_figure(figure, name, alt=alt)
    return [json, *(run.path("figures", f"{name}.png") for name in figures)]


def _figures(evaluation: Evaluation, table: pd.DataFrame) -> dict[str, tuple[Any, str]]:
    from aasist_lib import plots

    found, summary = evaluation.intervals, evaluation.summary
    if found is None or summary is None:
        return {}
    bonafide_spoof = split_classes(table["label"], table["score"])
    band = det_band(*bonafide_spoof, confidence=found.confidence, **_drawn(table, evaluation.groups))
    eer = f"EER {found.eer.percent()}"
    chosen = evaluation.operating.threshold if evaluation.operating else summary["eer_threshold"]
    which = "the dev threshold" if evaluation.operating else "the EER threshold"
    histograms = plots.score_histograms(table, chosen, f"Scores and {which}")
    figures = {
        "scores": (histograms, f"Histograms of bona fide and spoof scores with {which}; {eer}."),
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
    found, cells, at = evaluation.intervals, evaluation.breakdown, evaluation.operating
    rows = cells.to_dict(orient="records") if cells is not None else []
    return {
        "sources": {role: {"path": str(path), "sha256": sha256(path)} for role, path in sources.items()},
        "trials": evaluation.trials,
        "metrics": evaluation.summary,
        "intervals": asdict(found) | {"unit": evaluation.groups or "trial"} if found else None,
        "operating_point": asdict(at) | {"hter": at.hter} if at else None,
        "asv": evaluation.asv._asdict() if evaluation.asv else None,
        "min_tdcf": evaluation.min_tdcf,
        "min_a_dcf": evaluation.min_a_dcf,
        "breakdown": [{name: _or_none(value) for name, value in row.items()} for row in rows],
        "warnings": list(evaluation.warnings),
    }


def _check(table: pd.DataFrame, by: Sequence[str], groups: str | None) -> None:
    if len(table) > 1 and "score" in table.columns and table["score"].nunique(dropna=False) == 1:
        raise EvaluationError(
            f"all {len(table)} scores are {table['score'].iloc[0]:g}, so there is nothing to "
            "evaluate: check the detector, or the column that was read as the score"
        )
    for column in by:
        if column in table.columns and (table[column] == UNKNOWN).all():
            raise EvaluationError(f"the key has no {column} for any trial: no breakdown by {column} is possible")
    if groups is not None and groups not in table.columns:
        raise EvaluationError(f"the table has no column {groups} to resample; it has {', '.join(map(str, table.columns))}")
    if groups is not None and (table[groups] == UNKNOWN).any():
        count = int((table[groups] == UNKNOWN).sum())
        raise EvaluationError(
            f"the key has no {groups} for {count} of {len(table)} trials: resample trials instead, and report that "
            "the interval is too narrow if speakers repeat"
        )


def _speakers(table: pd.DataFrame) -> dict[str, int]:
    known = "speaker" in table.columns and (table["speaker"] != UNKNOWN).all()
    return {"speakers": int(table["speaker"].nunique())} if known else {}


def _drawn(table: pd.DataFrame, groups: str | None) -> dict[str, Any]:
    """Return the bootstrap groups of each class."""
    if groups is None:
        return {}
    bonafide = table["label"] == "bonafide"
    return {"bonafide_groups": table.loc[bonafide, groups], "spoof_groups": table.loc[~bonafide, groups]}


def _percent(low: float, high: float) -> str:
    return f"{low * 100:.2f} – {high * 100:.2f} %"


def _or_none(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value
