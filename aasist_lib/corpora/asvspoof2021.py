"""ASVspoof 2021, logical access and deepfake: test sets only, their keys published apart from the audio.

Expected below `root`: the audio as its archives unpack (DF comes in four) and the unpacked `LA-keys-full.tar.gz` or
`DF-keys-full.tar.gz`. Of the three subsets in a key, `eval` is the test set; `progress` and `hidden` are left out, as in the
organisers' evaluation package (`--subset eval`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from aasist_lib.corpora.layout import Part, Tree, assemble, audio_paths
from aasist_lib.corpora.protocols import ProtocolError, read_key
from aasist_lib.corpora.table import TrialTableError

RECORDS = {"LA": "https://zenodo.org/records/4837263", "DF": "https://zenodo.org/records/4835108"}
SPLITS = ("eval",)


def load_asvspoof2021_la(root: Path, splits: Sequence[str] = SPLITS) -> pd.DataFrame:
    """The trial table of 2021 LA; see `load_asvspoof2021_df`."""
    return _load(root, "LA", splits)


def load_asvspoof2021_df(root: Path, splits: Sequence[str] = SPLITS) -> pd.DataFrame:
    """The trial table of 2021 DF: the split eval, which is the subset eval of the key.

    Args:
        root: the folder with the audio and the keys.
        splits: must have 'eval' in it; there is no other.

    Raises:
        TrialTableError: another split alone was asked for, the key or a FLAC is missing, or a line is not of the format.
    """
    return _load(root, "DF", splits)


def _load(root: Path, track: str, splits: Sequence[str]) -> pd.DataFrame:
    if "eval" not in splits:
        raise TrialTableError(f"{root}: ASVspoof 2021 has an eval split only; train on another corpus (data.corpus)")
    audio = f"ASVspoof2021_{track}_eval"
    tree = Tree(
        root,
        f"Download the audio of ASVspoof 2021 {track} ({RECORDS[track]}) and the keys "
        f"(https://www.asvspoof.org/asvspoof2021/{track}-keys-full.tar.gz), and unpack both into one folder.",
    )
    file = tree.file(key_places(track), f"key of ASVspoof 2021 {track}")
    key = read_key(file)
    if "subset" not in key.columns:
        raise ProtocolError(f"{file}: no subsets in it; the full key is needed. {tree.remedy}")
    key = key[key["subset"] == "eval"]
    if key.empty:
        raise ProtocolError(f"{file}: no trial of the subset eval; the full key is needed. {tree.remedy}")
    patterns = [f"{audio}/flac", f"{audio}/{audio}/flac", f"{audio}_part*/{audio}/flac", f"{audio}_part*/flac", "flac"]
    paths = audio_paths(key["utt_id"], tree.folders(patterns, "folder with the audio"))
    trials = key.assign(path=paths, split="eval", corpus=f"asvspoof2021_{track.lower()}")
    return assemble([Part(trials, file)], root)


def key_places(track: str) -> list[str]:
    """Where the key of a track may be: the archive holds `keys/<track>/CM/`; it is often moved."""
    below = (f"keys/{track}/", f"{track}-keys-full/keys/{track}/", f"ASVspoof2021_{track}_eval/keys/{track}/", f"{track}/", "")
    return [f"{place}CM/trial_metadata.txt" for place in below] + ["trial_metadata.txt"]
