"""Speaker verification (ASV) scores, for joint evaluation with a countermeasure: ASVspoof 2019, 2021 and 5 files."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aasist_lib.conventions import SUBSETS, UNKNOWN
from aasist_lib.evaluation.score_files import TableError, heading_words, read_text_table, refuse, refuse_numbers, some


class AsvScores(NamedTuple):
    """ASV scores by kind of trial, (trials,) each; pass them to `asv_error_rates(*scores)`."""

    target: NDArray[np.float64]
    nontarget: NDArray[np.float64]
    spoof: NDArray[np.float64]


class Tandem(NamedTuple):
    """Scores of ASVspoof 5 track 2, where a trial is an utterance and a speaker: of the ASV system and of the joint (SASV)
    system, by kind of trial; None if the file has none."""

    asv: AsvScores | None
    sasv: AsvScores | None


def read_asv(path: str | Path) -> AsvScores:
    """Read ASV scores from the organisers' files, for the t-DCF.

    ASVspoof 2019: `attack key score`, where the key is target, nontarget or spoof. ASVspoof 2021: `speaker utterance score`, in
    the line order of the key in `../trial_metadata.txt`, of which only the subset 'eval' is used.

    Raises:
        TableError: the file is missing or has another format, a score is not finite, or a class has no scores.
    """
    path = Path(path)
    table = read_text_table(path)
    if table.shape[1] != 3:
        raise TableError(
            f"{path}:{table.index[0]}: {table.shape[1]} columns; ASV scores have three: attack, key and score (ASVspoof 2019) "
            "or speaker, utterance and score (2021)"
        )
    numbers = pd.to_numeric(table[2], errors="coerce")
    refuse(path, ~np.isfinite(numbers), table[2], "scores are not finite numbers")
    kinds, values = table[1], table[2].astype("float64")
    if not kinds.isin(AsvScores._fields).any():
        kinds = _asv_key_2021(path, kinds)
    else:
        refuse(path, ~kinds.isin(AsvScores._fields), kinds, f"keys are none of {', '.join(AsvScores._fields)}")
    classes = AsvScores(*(values[(kinds == kind).to_numpy()].to_numpy() for kind in AsvScores._fields))
    if empty := [kind for kind, found in classes._asdict().items() if not found.size]:
        raise TableError(f"{path}: no {' and no '.join(empty)} scores: the t-DCF needs target, nontarget and spoof")
    return classes


def _asv_key_2021(path: Path, utterances: pd.Series) -> pd.Series:
    """Return the key of each line; '-' outside the subset 'eval'."""
    file = path.resolve().parent.parent / "trial_metadata.txt"
    if not file.is_file():
        raise TableError(
            f"{path}: the second column has no target, nontarget or spoof, so this is the ASVspoof 2021 format, "
            f"whose key must be at {file}: keep the organisers' folder structure keys/LA/ASV"
        )
    key = read_text_table(file)
    if key.shape[1] < 8:
        raise TableError(f"{file}:{key.index[0]}: {key.shape[1]} columns; an ASVspoof 2021 key has at least 8")
    shared = min(len(key), len(utterances))
    other = np.flatnonzero(key[1].to_numpy()[:shared] != utterances.to_numpy()[:shared])
    if len(key) != len(utterances) or other.size:
        row = int(other[0]) if other.size else shared
        places = (
            f"{of}:{lines.index[row]}" if row < len(lines) else str(of) for of, lines in ((file, key), (path, utterances))
        )
        raise TableError(
            f"{': not the key of '.join(places)}: they must list the same utterances in the same order; they have {len(key)} "
            f"and {len(utterances)} utterances"
        )
    for column, known in ((5, AsvScores._fields), (7, SUBSETS)):
        refuse(file, ~key[column].isin(known), key[column], f"values are none of {', '.join(known)}")
    return key[5].where(key[7] == "eval", "-")


def read_tandem(scores: str | Path, key: str | Path) -> Tandem | None:
    """Read the ASV and joint (SASV) scores from a score file and a key of ASVspoof 5 track 2; None for other files.

    The key has one line per speaker and utterance, with `asv-label` (target, nontarget or spoof); the score file has,
    for the same trials, `asv-score`, `sasv-score` or both ('-' if a system has none).

    Raises:
        TableError: they do not list the same trials, a score is not finite, or a kind of trial is missing.
    """
    tables, trial = [], ["spk", "filename"]
    for path, needed in ((Path(scores), ("asv-score", "sasv-score")), (Path(key), ("asv-label",))):
        if path.suffix == ".parquet" or not set(needed) & set(heading_words(path)):
            return None
        rows = read_text_table(path)
        names = [name.strip().lower().replace("_", "-") for name in rows.iloc[0]]
        tables.append(rows.iloc[1:].set_axis(names, axis=1))
        if absent := [name for name in trial if name not in names]:
            raise TableError(f"{path}: no column {' and no '.join(absent)}: track 2 trials are identified by spk and filename")
    scored, keyed = tables
    kinds = [name for name in ("asv-score", "sasv-score") if name in scored]
    refuse(
        Path(key),
        ~keyed["asv-label"].isin(AsvScores._fields),
        keyed["asv-label"],
        "labels are none of " + ", ".join(AsvScores._fields),
    )
    for path, table in ((Path(scores), scored), (Path(key), keyed)):
        refuse(path, table.duplicated(trial), table["filename"], "trials are duplicates (same spk and filename)")
    both = keyed.merge(scored, on=trial, how="outer", indicator=True, suffixes=("", "_scored"))
    if (alone := both["_merge"] != "both").any():
        trials = some(both.loc[alone, "spk"] + " " + both.loc[alone, "filename"])
        raise TableError(f"{int(alone.sum())} trials are in only one of {scores} and {key}: {trials}")
    found: dict[str, AsvScores | None] = {"asv-score": None, "sasv-score": None}
    for name in kinds:
        if (both[name] == UNKNOWN).all():
            continue
        refuse_numbers(Path(scores), both[name])
        numbers = both[name].astype("float64").to_numpy()
        classes = AsvScores(*(numbers[(both["asv-label"] == kind).to_numpy()] for kind in AsvScores._fields))
        if empty := [kind for kind, values in classes._asdict().items() if not values.size]:
            raise TableError(f"{key}: no {' and no '.join(empty)} trials: min a-DCF needs target, nontarget and spoof")
        found[name] = classes
    return Tandem(found["asv-score"], found["sasv-score"])
