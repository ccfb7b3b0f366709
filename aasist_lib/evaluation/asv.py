"""Scores of speaker verifiers, which a countermeasure is judged together with: files of ASVspoof 2019, 2021 and 5."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aasist_lib.conventions import SUBSETS, UNKNOWN
from aasist_lib.evaluation.score_files import TableError, heading_words, read_text_table, refuse, refuse_numbers, some


class AsvScores(NamedTuple):
    """Scores of a speaker verifier, (trials,) each: pass them on as `asv_error_rates(*scores)`."""

    target: NDArray[np.float64]
    nontarget: NDArray[np.float64]
    spoof: NDArray[np.float64]


class Tandem(NamedTuple):
    """Trials of ASVspoof 5, track 2: an utterance against a speaker. Scores of the verifier and of the whole system, by kind of
    trial; None where the file does not have them."""

    asv: AsvScores | None
    sasv: AsvScores | None


def read_asv(path: str | Path) -> AsvScores:
    """The speaker verifier's scores, from the files that the organisers distribute, for the t-DCF.

    ASVspoof 2019: `attack key score`, the key being target, nontarget or spoof. ASVspoof 2021: `speaker utterance score`,
    line by line beside the key in `../trial_metadata.txt`, of which the subset 'eval' is taken.

    Raises:
        TableError: no such file, another form, a score that is not finite, or a class without scores.
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
    """The key of each line, '-' outside the subset 'eval'."""
    file = path.resolve().parent.parent / "trial_metadata.txt"
    if not file.is_file():
        raise TableError(
            f"{path}: the second column holds neither target, nontarget nor spoof, so this is the form of ASVspoof 2021, "
            f"whose key must lie at {file}: keep the organisers' folder keys/LA/ASV as it unpacks"
        )
    key = read_text_table(file)
    if key.shape[1] < 8:
        raise TableError(f"{file}:{key.index[0]}: {key.shape[1]} columns; a key of ASVspoof 2021 has at least 8")
    shared = min(len(key), len(utterances))
    other = np.flatnonzero(key[1].to_numpy()[:shared] != utterances.to_numpy()[:shared])
    if len(key) != len(utterances) or other.size:
        row = int(other[0]) if other.size else shared
        places = (
            f"{of}:{lines.index[row]}" if row < len(lines) else str(of) for of, lines in ((file, key), (path, utterances))
        )
        raise TableError(
            f"{': not the key of '.join(places)}: they must list the same utterances, line by line; they have {len(key)} "
            f"and {len(utterances)} of them"
        )
    for column, known in ((5, AsvScores._fields), (7, SUBSETS)):
        refuse(file, ~key[column].isin(known), key[column], f"values are none of {', '.join(known)}")
    return key[5].where(key[7] == "eval", "-")


def read_tandem(scores: str | Path, key: str | Path) -> Tandem | None:
    """What a score file and a key of ASVspoof 5, track 2, say of the speaker verifier and of both systems together; None where
    they are of another kind.

    The key has a line per speaker and utterance with `asv-label` (target, nontarget or spoof); the score file, for the same
    lines, `asv-score`, `sasv-score` or both ('-' where a system has none).

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
            raise TableError(f"{path}: no column {' and no '.join(absent)}: trials of track 2 are told by spk and filename")
    scored, keyed = tables
    kinds = [name for name in ("asv-score", "sasv-score") if name in scored]
    refuse(
        Path(key),
        ~keyed["asv-label"].isin(AsvScores._fields),
        keyed["asv-label"],
        "labels are none of " + ", ".join(AsvScores._fields),
    )
    for path, table in ((Path(scores), scored), (Path(key), keyed)):
        refuse(path, table.duplicated(trial), table["filename"], "trials occurred before (same spk and filename)")
    both = keyed.merge(scored, on=trial, how="outer", indicator=True, suffixes=("", "_scored"))
    if (alone := both["_merge"] != "both").any():
        trials = some(both.loc[alone, "spk"] + " " + both.loc[alone, "filename"])
        raise TableError(f"{int(alone.sum())} trials are in one of {scores} and {key} only: {trials}")
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
