"""Breakdown tables: error rates with intervals for each attack, codec or combination, with pooled rows and the worst case."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import pandas as pd

from aasist_lib.conventions import UNKNOWN

from .intervals import bootstrap
from .llr import cllr
from .operating import operating_point
from .rates import MetricError, bonafide_mask

GROUPS = ("known", "unseen", "untold")
"""Groups of attacks: seen in training ('known'), not seen ('unseen'), and not specified by the corpus ('untold')."""
MEASURES = ("eer", "eer_low", "eer_high", "min_dcf", "min_dcf_low", "min_dcf_high")
AT_THRESHOLD = ("frr", "far", "hter")
DURATIONS = ("< 2 s", "2–4 s", "> 4 s")


def duration_class(seconds: pd.Series) -> pd.Series:
    """Return each clip's duration class as an ordered categorical of `DURATIONS`, for a breakdown by duration."""
    classes = np.select([seconds < 2, seconds <= 4], DURATIONS[:2], DURATIONS[2])
    return pd.Series(pd.Categorical(classes, DURATIONS, ordered=True), index=seconds.index, name="duration")


def breakdown(
    scores: pd.DataFrame,
    by: list[str],
    *,
    known: Collection[str] | None = None,
    threshold: float | None = None,
    groups: str | None = None,
    replicates: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """Compute EER and minDCF for each combination of values (cell) in the columns `by`.

    The spoof trials of a cell are compared with the bona fide trials that have the same values. A column that is '-' for all
    bona fide trials (such as `attack`) selects spoof trials only.

    Args:
        scores: a score table with `score`, `label` ('bonafide' | 'spoof') and the columns `by`.
        by: column names, e.g. ['attack'] or ['attack', 'codec'].
        known: the attacks seen in training; adds the column `seen` (one of `GROUPS`) and a pooled row for each group.
        threshold: a threshold chosen on dev; adds `frr`, `far` and `hter` (their mean) at this threshold, as fractions.
        groups: a column, such as 'speaker', whose values are drawn in the bootstrap instead of trials.
        replicates, confidence, seed: as for `bootstrap`.

    Returns:
        One row per cell, sorted by name, then the pooled rows and the worst cell. Columns: those of `by`, `row`
        ('cell' | 'pooled' | 'worst'), `seen` if `known` is given, `bonafide` and `spoof` (counts), `eer`, `eer_low`,
        `eer_high`, `min_dcf`, `min_dcf_low`, `min_dcf_high` (NaN in a cell without bona fide trials), then `frr`, `far`, `hter`
        if `threshold` is given.

    Raises:
        MetricError: `by` is empty, a column is missing or has missing values, `known` is given but `by` lacks 'attack', or the
            table does not contain both classes.
    """
    _check(scores, by, known, groups)
    is_bonafide = bonafide_mask(scores["label"])
    bonafide, spoof = scores[is_bonafide], scores[~is_bonafide]
    shared = [column for column in by if len(bonafide) and (bonafide[column] != UNKNOWN).any()]
    settings = {"groups": groups, "replicates": replicates, "confidence": confidence, "seed": seed, "threshold": threshold}
    pooled: list[dict[str, Any]] = [_row("pooled", dict.fromkeys(by, "pooled"), bonafide, spoof, settings)]
    cells: list[dict[str, Any]] = []
    for values, attacked in spoof.groupby(by, sort=True, observed=True):
        names = dict(zip(by, values, strict=True))
        matching = bonafide
        for column in shared:
            matching = matching[matching[column] == names[column]]
        cells.append(_row("cell", names, matching, attacked, settings))
    if known is not None:
        for row in cells:
            row["seen"] = _seen(row["attack"], known)
        group = spoof["attack"].map(lambda attack: _seen(attack, known))
        for seen in GROUPS:
            if len(part := spoof[group == seen]):
                row = _row("pooled", dict.fromkeys(by, f"pooled {seen}"), bonafide, part, settings)
                pooled.append({**row, "seen": seen})
    measured = [row for row in cells if np.isfinite(row["eer"])]
    worst = [{**max(measured, key=lambda row: row["eer"]), "row": "worst"}] if measured else []
    columns = [*by, "row", *(["seen"] if known is not None else []), "bonafide", "spoof", *MEASURES]
    columns += AT_THRESHOLD if threshold is not None else ()
    table = pd.DataFrame([*cells, *pooled, *worst])[columns]
    return table.fillna({"seen": UNKNOWN}) if known is not None else table


def results_table(
    tables: Mapping[tuple[str, str], pd.DataFrame],
    known: Collection[str],
    names: Mapping[str, str],
    *,
    thresholds: Mapping[str, float] | None = None,
    replicates: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """Build a results table with one row per system, split and group of attacks (see `GROUPS`).

    Each group of attacks is compared with all bona fide trials of its split.

    Args:
        tables: score tables by (system, split); columns `score`, `label`, `attack`.
        known: the attacks seen in training.
        names: system -> its name in the table.
        thresholds: system -> its dev threshold; adds the error rates at this threshold.
        replicates, confidence, seed: as for `bootstrap`.

    Returns:
        Columns `system, split, attacks, bonafide, spoof, EER, low, high`, then `FRR, FAR, HTER` at the system's threshold if
        `thresholds` is given, then `min DCF, Cllr`. Rates are fractions, Cllr is in bits. A group without trials in a split has
        no row.
    """
    rows = []
    for (system, split), table in tables.items():
        spoofed = ~bonafide_mask(table["label"])
        seen = table["attack"].map(lambda attack: _seen(attack, known))
        bonafide = table.loc[~spoofed, "score"].to_numpy()
        for group in GROUPS:
            spoof = table.loc[spoofed & (seen == group).to_numpy(), "score"].to_numpy()
            if not len(spoof):
                continue
            found = bootstrap(bonafide, spoof, replicates=replicates, confidence=confidence, seed=seed)
            rate = found.eer
            row = {"system": names[system], "split": split, "attacks": group, "bonafide": len(bonafide), "spoof": len(spoof),
                   "EER": rate.value, "low": rate.low, "high": rate.high}  # fmt: skip
            if thresholds is not None:
                at = _at_threshold(bonafide, spoof, thresholds[system])
                row |= {name.upper(): value for name, value in at.items()}
            rows.append(row | {"min DCF": found.min_dcf.value, "Cllr": cllr(bonafide, spoof)})
    return pd.DataFrame(rows)


def _at_threshold(bonafide: Any, spoof: Any, threshold: float) -> dict[str, float]:
    found = operating_point(bonafide, spoof, threshold)
    return dict(zip(AT_THRESHOLD, found.rates(), strict=True))


def _seen(attack: str, known: Collection[str]) -> str:
    if attack in known:
        return "known"
    return "untold" if attack == UNKNOWN else "unseen"


def _row(
    kind: str, names: dict[str, str], bonafide: pd.DataFrame, spoof: pd.DataFrame, settings: dict[str, Any]
) -> dict[str, Any]:
    row = {**names, "row": kind, "bonafide": len(bonafide), "spoof": len(spoof)}
    if settings["threshold"] is not None:
        row |= _at_threshold(bonafide["score"], spoof["score"], settings["threshold"])
    if not len(bonafide) and kind == "cell":
        return {**row, **dict.fromkeys(MEASURES, np.nan)}
    options = {key: value for key, value in settings.items() if key not in ("groups", "threshold")}
    if settings["groups"] is not None:
        options |= {"bonafide_groups": bonafide[settings["groups"]], "spoof_groups": spoof[settings["groups"]]}
    found = bootstrap(bonafide["score"], spoof["score"], **options)
    intervals = (found.eer, found.min_dcf)
    return row | dict(zip(MEASURES, [x for each in intervals for x in (each.value, each.low, each.high)], strict=True))


def _check(scores: pd.DataFrame, by: list[str], known: Collection[str] | None, groups: str | None) -> None:
    if not by:
        raise MetricError("by = []: name at least one column, such as ['attack']")
    needed = ["score", "label", *by, *([groups] if groups else [])]
    missing = [column for column in needed if column not in scores.columns]
    if missing:
        columns = ", ".join(map(str, scores.columns))
        raise MetricError(f"the score table has no column {', '.join(missing)}; it has {columns}")
    empty = [column for column in by if scores[column].isna().any()]
    if empty:
        raise MetricError(f"missing values in {', '.join(empty)}: write '{UNKNOWN}' where a value is unknown")
    if known is not None and "attack" not in by:
        raise MetricError(f"known attacks are given, but by = {by} does not contain 'attack': add it, or omit known")
