"""ASVspoof 5, track 1: the organisers' protocols and FLAC folders as one trial table.

Expected below `root`: the folders `flac_T`, `flac_D` and `flac_E_eval`, as the archives unpack, and the protocols, there or
in `ASVspoof5_protocols/`. In spite of their ending, fields are separated by any white space: speaker, utterance, gender,
codec, codec quality, codec seed, attack tag, attack, key, and a field without use.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from aasist_lib.corpora.table import LABELS, UNKNOWN, TrialTableError, validate

SPLITS = {
    "train": (("ASVspoof5.train.tsv", "ASVspoof5.train.metadata.txt"), "flac_T"),
    "dev": (("ASVspoof5.dev.track_1.tsv", "ASVspoof5.dev.metadata.txt"), "flac_D"),
    "eval": (("ASVspoof5.eval.track_1.tsv", "ASVspoof5.eval.metadata.txt"), "flac_E_eval"),
}
FIELDS = 10
_SPEAKER, _UTTERANCE, _CODEC, _ATTACK, _KEY = 0, 1, 3, 7, 8


def load_asvspoof5(root: Path) -> pd.DataFrame:
    """The trial table of train, dev and, where its protocol is there, eval.

    Raises:
        TrialTableError: a protocol or a FLAC is missing, or a line is not of the format (file and line are named).
    """
    parts, lines = [], []
    for split, (names, folder) in SPLITS.items():
        places = [root / below / name for name in names for below in ("", "ASVspoof5_protocols")]
        file = next((place for place in places if place.is_file()), None)
        if file is None and split == "eval":
            continue
        if file is None:
            raise TrialTableError(f"{root}: no protocol of the {split} split; looked for {', '.join(map(str, places))}")
        part = _read(file, root / folder).assign(split=split, corpus="asvspoof5")
        parts.append(part)
        lines += range(1, len(part) + 1)
    return validate(pd.concat(parts, ignore_index=True), root, lines)


def _read(file: Path, folder: Path) -> pd.DataFrame:
    rows = []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
        fields = line.split()
        if len(fields) != FIELDS or fields[_KEY] not in LABELS:
            raise TrialTableError(
                f"{file}:{number}: {FIELDS} fields with the key {' or '.join(LABELS)} as the ninth are needed, "
                f"found {len(fields)}: {line[:120]!r}"
            )
        spoof = fields[_KEY] == "spoof"
        path = folder / f"{fields[_UTTERANCE]}.flac"
        attack = fields[_ATTACK] if spoof else UNKNOWN
        rows.append((fields[_UTTERANCE], str(path), fields[_KEY], fields[_SPEAKER], attack, fields[_CODEC]))
    return pd.DataFrame(rows, columns=["utt_id", "path", "label", "speaker", "attack", "codec"])
