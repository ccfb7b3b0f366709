"""ASVspoof 5, track 1: the organisers' protocols and FLAC folders as one trial table.

Expected below `root`: the folders `flac_T`, `flac_D` and `flac_E_eval`, as the archives unpack, and the protocols, there or
in `ASVspoof5_protocols/`. In the test phase of the challenge they had other names, which are still in circulation.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from aasist_lib.conventions import SPLITS
from aasist_lib.corpora.layout import Part, Tree, assemble, audio_paths
from aasist_lib.corpora.protocols import read_key

PROTOCOLS = {
    "train": ("ASVspoof5.train.tsv", "ASVspoof5.train.metadata.txt"),
    "dev": ("ASVspoof5.dev.track_1.tsv", "ASVspoof5.dev.metadata.txt"),
    "eval": ("ASVspoof5.eval.track_1.tsv", "ASVspoof5.eval.metadata.txt"),
}
PLACES = ("", "ASVspoof5_protocols/", "cm_protocols/")
FOLDERS = {
    "train": ("flac_T", "flac_T/flac_T", "flac_T_*/flac_T"),
    "dev": ("flac_D", "flac_D/flac_D", "flac_D_*/flac_D"),
    "eval": ("flac_E_eval", "flac_E_eval/flac_E_eval", "flac_E_*/flac_E_eval"),
}
REMEDY = (
    "Download ASVspoof 5 (https://zenodo.org/records/14498691), unpack its archives into one folder and point data.root "
    "at it. To train without the eval set move its protocol away: train and dev are enough then."
)


def load_asvspoof5(root: Path, splits: Sequence[str] = SPLITS) -> pd.DataFrame:
    """The trial table of train, dev and, where its protocol is there or nothing else is asked for, eval.

    Args:
        root: the folder with the protocols and the FLAC folders.
        splits: those to load; the others need not be there.

    Raises:
        TrialTableError: a protocol or a FLAC is missing, or a line is not of the format (file and line are named).
    """
    tree, parts = Tree(root, REMEDY), []
    for split in splits:
        names = [place + name for name in PROTOCOLS[split] for place in PLACES]
        # Whoever trains has no need of the eval set: it is larger than all the rest.
        if split == "eval" and set(splits) != {"eval"} and tree.optional_file(names) is None:
            continue
        file = tree.file(names, f"protocol of the {split} split")
        key = read_key(file)
        folders = tree.folders(FOLDERS[split], f"folder with the audio of the {split} split")
        paths = audio_paths(key["utt_id"], folders)
        parts.append(Part(key.assign(path=paths, split=split, corpus="asvspoof5"), file))
    return assemble(parts, root)
