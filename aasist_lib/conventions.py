"""Shared conventions: labels, splits, the unknown value, and the column and label names found in other people's files."""

from __future__ import annotations

import re
from collections.abc import Iterable

import pandas as pd

LABELS = ("bonafide", "spoof")
SPLITS = ("train", "dev", "eval")
SUBSETS = ("progress", "eval", "hidden")
"""Subsets in a key of ASVspoof 2021."""
UNKNOWN = "-"
"""Value of everything that a corpus does not give."""
TOLD = ("gender", "quality", "language", "recording")
"""Columns that a trial table has only if the corpus gives them. `recording` is the same for a
recording and for the spoofs made from it or in its place."""

LABEL_WORDS = {
    "bonafide": ("bonafide", "bona-fide", "bona_fide", "bona fide", "genuine", "human", "real", "1", "1.0"),
    "spoof": ("spoof", "spoofed", "fake", "deepfake", "0", "0.0"),
}
"""Labels used in files for the two classes, in lower case. Numbers: bona fide 1, spoof 0."""
NAMES: dict[str, tuple[str, ...]] = {
    "utt_id": (
        "utt-id", "filename", "file-name", "file", "utt", "utterance", "utterance-id", "trial", "trial-id", "id", "path",
        "file-path", "filepath", "wav",
    ),
    "score": ("score", "scores", "cm-score", "cm-scores", "cmscore", "llr"),
    "label": ("label", "cm-label", "key"),
    "speaker": ("speaker", "spk", "speaker-id"),
    "attack": ("attack", "attack-id", "attack-anon"),
    "codec": ("codec",),
    "gender": ("gender", "sex"),
    "quality": ("quality", "codec-q"),
    "language": ("language", "lang"),
    "recording": ("recording", "source-recording"),
    "seconds": ("seconds", "duration"),
    "subset": ("subset",),
    "split": ("split",),
}  # fmt: skip
"""Column -> its names in headings, in lower case and with '-' for '_'; if a file has several of them, the first one here is
used."""
_LABEL_OF = {word: label for label, words in LABEL_WORDS.items() for word in words}
DECIMAL_COMMA = re.compile(r"[-+]?\d+,\d+(?:[eE][-+]?\d+)?")


def column_of(heading: str) -> str | None:
    """The column for a heading, or None if the heading is unknown."""
    plain = heading.strip().lower().replace("_", "-")
    return next((column for column, names in NAMES.items() if plain in names), None)


def family(attack: pd.Series) -> pd.Series:
    """The family of each attack: its name up to the first hyphen ('world' for 'world-copy')."""
    return attack.str.partition("-")[0].where(attack != UNKNOWN, UNKNOWN)


def read_labels(values: pd.Series) -> pd.Series:
    """Labels in any of `LABEL_WORDS`, in upper or lower case, as 'bonafide' and 'spoof'; other values stay as they are."""
    plain = values.astype("str").str.strip().str.lower()
    return plain.map(_LABEL_OF).fillna(values)


def known_words(label: str) -> str:
    """The words for a class, for messages: "bonafide, genuine, human, real or 1"."""
    return _either(word for word in LABEL_WORDS[label] if not re.search(r"[-_ .]", word))


def known_names(column: str) -> str:
    """The names of a column, for messages: "utt_id, filename, file … or wav"."""
    return _either(dict.fromkeys([column, *(name for name in NAMES[column] if "-" not in name)]))


def _either(words: Iterable[str]) -> str:
    *others, last = words
    return f"{', '.join(others)} or {last}" if others else last
