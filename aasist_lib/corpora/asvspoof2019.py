"""ASVspoof 2019, logical access: the protocols of the countermeasures and the FLAC folders as one trial table.

Expected below `root`: the contents of `LA.zip`, with the folder `LA` or without it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from aasist_lib.conventions import SPLITS
from aasist_lib.corpora.layout import Part, Tree, assemble, audio_paths
from aasist_lib.corpora.protocols import read_key

PROTOCOLS = {
    "train": "ASVspoof2019.LA.cm.train.trn.txt",
    "dev": "ASVspoof2019.LA.cm.dev.trl.txt",
    "eval": "ASVspoof2019.LA.cm.eval.trl.txt",
}
PLACES = ("", "LA/", "LA/LA/")
REMEDY = "Download LA.zip of ASVspoof 2019 (https://datashare.ed.ac.uk/handle/10283/3336), unpack it and point data.root at it."


def load_asvspoof2019_la(root: Path, splits: Sequence[str] = SPLITS) -> pd.DataFrame:
    """The trial table of train, dev and eval.

    Args:
        root: the folder `LA`, or the one that holds it.
        splits: those to load; the others need not be there.

    Raises:
        TrialTableError: a protocol or a FLAC is missing, or a line is not of the format (file and line are named).
    """
    tree, parts = Tree(root, REMEDY), []
    for split in splits:
        names = [place + below + PROTOCOLS[split] for place in PLACES for below in ("ASVspoof2019_LA_cm_protocols/", "")]
        file = tree.file(names, f"protocol of the {split} split")
        key = read_key(file)
        patterns = [f"{place}ASVspoof2019_LA_{split}/flac" for place in PLACES]
        folders = tree.folders(patterns, f"folder with the audio of the {split} split")
        paths = audio_paths(key["utt_id"], folders)
        parts.append(Part(key.assign(path=paths, split=split, corpus="asvspoof2019_la"), file))
    return assemble(parts, root)
