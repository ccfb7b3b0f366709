"""ASVspoof 2019 LA as LA.zip unpacks: protocols of five fields, FLACs in `flac/` of a folder a split."""

import shutil
from pathlib import Path

import pytest

from aasist_lib import audio
from aasist_lib.config import DataConfig
from aasist_lib.corpora import COLUMNS, TrialTableError, load_trials
from tests.corpora.conftest import record

LINES = {
    "train.trn": ["LA_0079 LA_T_1138215 - - bonafide", "LA_0079 LA_T_1004644 - A01 spoof"],
    "dev.trl": ["LA_0069 LA_D_1047731 - - bonafide", "LA_0070 LA_D_1055562 - A04 spoof"],
    "eval.trl": ["LA_0039 LA_E_2834763 - A11 spoof", "LA_0039 LA_E_5849185 - - bonafide"],
}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name, lines in LINES.items():
        file = tmp_path / "LA" / "ASVspoof2019_LA_cm_protocols" / f"ASVspoof2019.LA.cm.{name}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("\n".join(lines) + "\n")
        folder = tmp_path / "LA" / f"ASVspoof2019_LA_{name.split('.')[0]}" / "flac"
        record(*(folder / f"{line.split()[1]}.flac" for line in lines))
    return tmp_path


def load(root: Path):
    return load_trials(DataConfig(corpus="asvspoof2019_la", root=root))


@pytest.mark.parametrize("below", ["", "LA"])
def test_the_tree_is_found_with_the_folder_la_and_without(tree, below):
    trials = load(tree / below)
    assert list(trials.columns) == COLUMNS and trials["split"].value_counts().to_dict() == {"train": 2, "dev": 2, "eval": 2}
    assert trials.iloc[1][["utt_id", "label", "speaker", "attack", "codec", "split", "corpus"]].tolist() == [
        "LA_T_1004644", "spoof", "LA_0079", "A01", "-", "train", "asvspoof2019_la",
    ]  # fmt: skip
    assert all(len(audio.read(path)) == 160 for path in trials["path"])


def test_a_missing_protocol_names_every_place(tree):
    (tree / "LA" / "ASVspoof2019_LA_cm_protocols" / "ASVspoof2019.LA.cm.dev.trl.txt").unlink()
    with pytest.raises(TrialTableError, match="protocol .*dev split") as error:
        load(tree)
    for place in ("", "LA/", "LA/LA/"):
        assert f"\n  {tree}/{place}ASVspoof2019_LA_cm_protocols/ASVspoof2019.LA.cm.dev.trl.txt\n" in str(error.value)
    assert "LA.zip" in str(error.value) and "datashare.ed.ac.uk" in str(error.value)


def test_protocols_may_lie_beside_the_folders_of_audio(tree):
    for file in (tree / "LA" / "ASVspoof2019_LA_cm_protocols").iterdir():
        file.rename(tree / "LA" / file.name)
    assert len(load(tree)) == len(load(tree / "LA")) == 6


def test_missing_audio_is_named(tree):
    (tree / "LA" / "ASVspoof2019_LA_eval" / "flac" / "LA_E_5849185.flac").unlink()
    with pytest.raises(TrialTableError, match=rf"^{tree}: 1 of 6 .*\n.*cm\.eval\.trl\.txt:2: .*LA_E_5849185\.flac"):
        load(tree)
    shutil.rmtree(tree / "LA" / "ASVspoof2019_LA_eval")
    with pytest.raises(TrialTableError, match="audio .*eval split"):
        load(tree)
