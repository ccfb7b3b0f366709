"""Score files and ASV score files, damaged in every field of every format."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aasist_lib.evaluation.asv import AsvScores, read_asv
from aasist_lib.evaluation.score_files import read_scores
from tests.fuzzing import SETTINGS, damages, outcome, packed, undamaged

FORMS: dict[str, tuple[str, list[str]]] = {
    "asvspoof2021": (" ", ["u1 1.5", "u2 -2", "u3 0.1", "u4 1e-3"]),
    "asvspoof2019": (" ", ["u1 - bonafide 1.5", "u2 A07 spoof -2", "u3 - bonafide 0.1", "u4 A08 spoof 1e-3"]),
    "speaker first": (" ", ["S1 u1 1.5 bonafide", "S2 u2 -2 spoof", "S1 u3 0.1 bonafide", "S2 u4 1e-3 spoof"]),
    "asvspoof5": ("\t", ["filename cm-score", "u1 1.5", "u2 -2", "u3 0.1"]),
    "asvspoof5, track 2": ("\t", ["spk filename cm-score asv-score sasv-score", "x u1 1.5 9 9", "x u2 -2 9 9", "y u3 0.1 9 9"]),
    "own csv": (",", ["utt_id score label attack text", "u1 1.5 bonafide - a", "u2 -2 spoof A07 b", "u3 0.1 spoof A08 c"]),
    "semicolons": (";", ["Utterance CM_Score", "u1 1.5", "u2 -2", "u3 0.1"]),
}
FIELDS = {form: [line.split() for line in lines] for form, (_, lines) in FORMS.items()}
ASV_2019 = ["bonafide target 3.5", "bonafide nontarget -1", "A07 spoof 1.25"] * 2
ASV_2021 = [f"S{n} u{n} {n}.5" for n in range(8)]
ASV_KEY = [
    f"S{number} u{number} alaw ita_tx x {kind} notrim {'hidden' if number % 4 == 3 else 'eval'}"
    for number, kind in enumerate(["target", "nontarget", "spoof", "spoof"] * 2)
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scores") / "ASV" / "kaldi"
    folder.mkdir(parents=True)
    return folder


def text(lines: list[str], mark: str = " ") -> bytes:
    return "".join(mark.join(line.split()) + "\n" for line in lines).encode()


@pytest.mark.parametrize("form", FORMS)
@SETTINGS
@given(data=st.data())
def test_scores_are_read_or_refused_with_their_line(place: Path, form: str, data: st.DataObject) -> None:
    mark, lines = FORMS[form]
    hurt = damages(FIELDS[form], mark, heading=mark != " ")
    name = data.draw(st.sampled_from(["scores.txt", "scores.csv", "scores.txt.gz"]))
    damage = data.draw(packed(hurt) if name.endswith(".gz") else hurt)
    table = outcome(read_scores, place / name, damage, undamaged(read_scores, place / f"{form}.txt", text(lines, mark)))
    if table is None:
        return
    assert len(table) and table["utt_id"].is_unique and (table["utt_id"].str.strip() != "").all()
    assert table["score"].dtype == np.float64 and np.isfinite(table["score"]).all()
    assert set(table.get("label", [])) <= {"bonafide", "spoof"}


def as_table(scores: AsvScores) -> pd.DataFrame:
    """Return one row per score."""
    assert all(each.size and np.isfinite(each).all() for each in scores)
    return pd.DataFrame([(kind, value) for kind, values in scores._asdict().items() for value in values])


@SETTINGS
@given(data=st.data())
def test_asv_scores_of_2019_are_read_or_refused_with_their_line(place: Path, data: st.DataObject) -> None:
    def read(file: Path) -> pd.DataFrame:
        return as_table(read_asv(file))

    damage = data.draw(damages([line.split() for line in ASV_2019], " "))
    outcome(read, place / "asv.txt", damage, undamaged(read, place / "asv.txt", text(ASV_2019)))


@pytest.mark.parametrize("damaged", ["scores", "key"])
@SETTINGS
@given(data=st.data())
def test_asv_scores_of_2021_and_their_key_are_read_or_refused(place: Path, damaged: str, data: st.DataObject) -> None:
    scores, key = place / "asv2021.txt", place.parent / "trial_metadata.txt"
    scores.write_bytes(text(ASV_2021))
    key.write_bytes(text(ASV_KEY))
    file, lines = (scores, ASV_2021) if damaged == "scores" else (key, ASV_KEY)
    damage = data.draw(damages([line.split() for line in lines], " "))

    def read(_: Path) -> pd.DataFrame:
        return as_table(read_asv(scores))

    outcome(read, file, damage, undamaged(read, file, text(lines)))
