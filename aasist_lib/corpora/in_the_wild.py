"""In-the-Wild (Müller et al., Interspeech 2022): recordings of public figures and deepfakes of them; a test set only.

Expected below `root`: `release_in_the_wild/` with `meta.csv` and the WAV files, or its contents. Utterances are called by
their file names ('0.wav'), as in `meta.csv` and in the score files in circulation. Attacks and codecs are unknown.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from aasist_lib.corpora.layout import Part, Tree, assemble, audio_paths
from aasist_lib.corpora.protocols import read_key
from aasist_lib.corpora.table import TrialTableError

PLACES = ("meta.csv", "release_in_the_wild/meta.csv", "in_the_wild/meta.csv")
REMEDY = "Download release_in_the_wild.zip (https://deepfake-total.com/in_the_wild), unpack it and point data.root at it."


def load_in_the_wild(root: Path, splits: Sequence[str] = ("eval",)) -> pd.DataFrame:
    """The trial table: the split eval.

    Args:
        root: the folder `release_in_the_wild`, or the one that holds it.
        splits: must have 'eval' in it; there is no other.

    Raises:
        TrialTableError: another split alone was asked for, `meta.csv` or a recording is missing, or a line is not of the
            format.
    """
    if "eval" not in splits:
        raise TrialTableError(f"{root}: In-the-Wild has an eval split only; train on another corpus (data.corpus)")
    file = Tree(root, REMEDY).file(PLACES, "meta.csv")
    key = read_key(file)
    trials = key.assign(path=audio_paths(key["utt_id"], [file.parent], ""), split="eval", corpus="in_the_wild")
    return assemble([Part(trials, file, first=2)], root)
