"""Join scores with their key, select trials, and check the sign of the scores."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from aasist_lib import audio
from aasist_lib.conventions import UNKNOWN
from aasist_lib.corpora import TrialTableError, read_key, read_trials
from aasist_lib.evaluation.score_files import TableError, read_scores, some
from aasist_lib.metrics import split_classes
from aasist_lib.metrics.rates import eer_point, rank
from aasist_lib.metrics.tables import duration_class

FAR_BETTER = 0.2
"""Minimum EER reduction by inverting the sign that triggers a warning."""
DEEPEST = 4
"""Maximum number of path parts, including the file name, by which ids are compared."""
_SUFFIX = rf"(?i)\.(?:{'|'.join(ending.removeprefix('.') for ending in audio.EXTENSIONS)})$"


def join(scores: pd.DataFrame, key: pd.DataFrame, names: tuple[str, str] = ("the scores", "the key")) -> pd.DataFrame:
    """Join scores with the key's trials, in the key's order: `utt_id, score`, then the key's other columns.

    Two systems joined with one key are therefore aligned. If the key has a column `subset` (ASVspoof 2021), only
    'eval' is used, as the organisers do; scores of other trials are allowed. If it has a column `split` (the workbook's trial
    tables), the splits with at least one score are used, and these must be scored completely.

    Ids that do not match exactly are compared without file extensions and with as few folders as make them unique: '0.wav' and
    '/data/0.flac' are the same utterance if there is no other '0'. `attrs["matched"]` of the result reports this.

    Args:
        scores: as returned by `read_scores`. Labels in it must agree with the key.
        key: as returned by `corpora.protocols.read_key`.
        names: names of the two in messages, such as their paths.

    Raises:
        TableError: ids are in only one of the tables or occur twice, or labels differ.
    """
    for table, name in zip((scores, key), names, strict=True):
        twice = table["utt_id"][table["utt_id"].duplicated()]
        if len(twice):
            raise TableError(f"{name}: {len(twice)} ids occur more than once: {some(twice)}")
    scores, matched = _as_in_key(scores, key["utt_id"])
    wanted = key[key["subset"] == "eval"] if "subset" in key.columns else key
    if "split" in key.columns:
        scored = wanted.loc[wanted["utt_id"].isin(scores["utt_id"]), "split"]
        wanted = wanted[wanted["split"].isin(scored)] if len(scored) else wanted
    if wanted.empty:
        raise TableError(f"{names[1]}: no trial of the subset 'eval' to evaluate")
    _refuse_unmatched(scores["utt_id"], key["utt_id"], wanted["utt_id"], names)
    joined = wanted.merge(scores, on="utt_id", how="left", suffixes=("", "_of_scores"), validate="one_to_one")
    if "label_of_scores" in joined.columns:
        wrong = joined["label"] != joined["label_of_scores"]
        if wrong.any():
            raise TableError(
                f"{int(wrong.sum())} of {len(joined)} labels in {names[0]} contradict {names[1]}: "
                f"{some(joined.loc[wrong, 'utt_id'])}; is it the key of these scores?"
            )
    joined = joined[["utt_id", "score", *(name for name in wanted.columns if name not in ("utt_id", "score"))]]
    joined.attrs["matched"] = matched
    return joined


def read_joined(scores: str | Path, key: str | Path | None, columns: Sequence[str] = ()) -> pd.DataFrame:
    """Read a score file and join it with its key; without a key the file's own labels are used.

    Raises:
        TableError: as `read_scores` and `join`, or there is no key and there are no labels.
        ProtocolError: the key cannot be read.
    """
    table = read_scores(scores, columns)
    if key is not None:
        return join(table, read_key(key), (str(scores), str(key)))
    if "label" not in table.columns:
        how = "--key or --dev-key; in notebook 05 KEY or DEV_KEY"
        raise TableError(f"{scores}: no labels; give the key of its trials ({how})")
    return table.assign(**{name: UNKNOWN for name in ("attack", "speaker", "codec") if name not in table.columns})


def add_duration(table: pd.DataFrame, key: str | Path | None) -> pd.DataFrame:
    """Add a column `duration`, a class of `metrics.tables.DURATIONS` per trial, from the key's column `seconds`, or from the
    audio if the key is a trial table with paths.

    Raises:
        TableError: the key has neither.
    """
    if "seconds" in table.columns:
        seconds = pd.to_numeric(table["seconds"], errors="coerce")
        if seconds.isna().any():
            raise TableError(f"{key}: {int(seconds.isna().sum())} values of the column seconds are not numbers")
        return table.assign(duration=duration_class(seconds))
    try:
        paths = read_trials(Path(key or "-")).set_index("utt_id")["path"]
    except TrialTableError as error:
        raise TableError(
            f"the key has no durations ({error}): add a column 'seconds' to it, or give the corpus' trial table as --key"
        ) from error
    seconds = pd.Series([audio.duration(path) for path in paths[table["utt_id"]]], index=table.index)
    return table.assign(duration=duration_class(seconds))


def _as_in_key(scores: pd.DataFrame, keyed: pd.Series) -> tuple[pd.DataFrame, str]:
    """Return the scores with the key's ids, and a description of how ids were matched; '' if they are equal."""
    exact = pd.Index(keyed).get_indexer(scores["utt_id"]) >= 0  # hashed; `isin` is ten times slower on text
    if exact.any():
        return scores, ""
    for depth in range(1, DEEPEST + 1):
        bare, other = _bare(scores["utt_id"], depth), pd.Index(_bare(keyed, depth))
        if not bare.is_unique or not other.is_unique:
            continue
        places = other.get_indexer(bare)
        if (places >= 0).all():
            folders = "without folders" if depth == 1 else f"by the last {depth} parts of their paths"
            said = f"ids matched {folders} and without file extensions: {scores['utt_id'].iloc[0]} is {keyed.iloc[places[0]]}"
            return scores.assign(utt_id=keyed.to_numpy()[places]), said
    return scores, ""


def _bare(ids: pd.Series, depth: int) -> pd.Series:
    """Ids without file extensions, reduced to the last `depth` parts of their paths."""
    plain = ids.astype("str").str.replace("\\", "/", regex=False).str.replace(_SUFFIX, "", regex=True)
    return plain.str.split("/").str[-depth:].str.join("/")


def _refuse_unmatched(scored: pd.Series, keyed: pd.Series, wanted: pd.Series, names: tuple[str, str]) -> None:
    unkeyed = scored[pd.Index(keyed).get_indexer(scored) < 0]
    unscored = wanted[pd.Index(scored).get_indexer(wanted) < 0]
    parts = [
        f"{len(extra)} of {size} ids of {name} are not in {other}: {some(extra)}"
        for extra, size, name, other in (
            (unkeyed, len(scored), names[0], names[1]),
            (unscored, len(wanted), names[1], names[0]),
        )
        if len(extra)
    ]
    if not parts:
        return
    if len(unkeyed) == len(scored):
        for ids, name in ((scored, names[0]), (keyed, names[1])):
            paths = ids.str.contains("[/\\\\]", regex=True)
            if paths.any():
                parts.append(f"{name} has folders in its ids, such as {ids[paths].iloc[0]}.")
            if _bare(ids, DEEPEST).duplicated().any() or _bare(ids, 1).duplicated().any():
                parts.append(f"In {name} several ids have the same file name, so file names alone are ambiguous.")
    raise TableError("\n  ".join(parts))


def only(table: pd.DataFrame, chosen: Iterable[str], left_out: Iterable[str]) -> pd.DataFrame:
    """Select trials of a score table: `chosen` and `left_out` are conditions 'column=value,value'.

    Conditions on `attack` apply to spoofed trials only; bona fide trials are kept.

    Raises:
        TableError: there is no such column or value, or nothing is left; the message lists what exists.
    """
    for texts, keep in ((chosen, True), (left_out, False)):
        for text in texts:
            column, mark, values = text.partition("=")
            wanted = [value for value in values.split(",") if value]
            if not mark or not wanted or column not in table.columns:
                columns = ", ".join(name for name in table.columns if name not in ("utt_id", "score"))
                raise TableError(f"'{text}' is not of the form column=value,value with a column of the key: {columns}")
            there = sorted(set(table[column].astype("str")))
            if absent := [value for value in wanted if value not in there]:
                raise TableError(f"'{text}': no trial has the {column} {', '.join(absent)}; there are {some(there)}")
            fits = table[column].astype("str").isin(wanted)
            if column == "attack":
                bonafide = table["label"] == "bonafide"
                fits = fits | bonafide if keep else fits & ~bonafide
            table = table[fits if keep else ~fits]
    if table.empty:
        raise TableError(f"no trial is left after {' '.join([*chosen, *left_out])}")
    return table.reset_index(drop=True)


def check_sign(table: pd.DataFrame) -> str | None:
    """Return a warning if the inverted scores would have a far better EER, else None. The table is not changed.

    Args:
        table: `score` and `label`.
    """
    bonafide, spoof = split_classes(table["label"], table["score"])
    value, inverted = (eer_point(rank(*classes).curve)[0] for classes in ((bonafide, spoof), (-bonafide, -spoof)))
    if value - inverted < FAR_BETTER:
        return None
    return (
        f"THE SIGN OF THE SCORES LOOKS WRONG: the EER is {value:.2%}; with every score negated it would be "
        f"{inverted:.2%}. A higher score must mean bona fide. The scores were used unchanged: negate the scores in the file if "
        "they mean the opposite."
    )
