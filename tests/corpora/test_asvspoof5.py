"""ASVspoof 5 in its true format: white-space separated, ten fields, FLACs in one folder a split."""

from pathlib import Path

import pytest

from aasist_lib.config import DataConfig, load_profile
from aasist_lib.corpora import COLUMNS, TrialTableError, load_trials

LINES = {
    "train": ["T_4850 T_0000000000 F - - - AC3 A05 spoof -", "T_0001\tT_0000000001\tM\t-\t-\t-\t-\tbonafide\tbonafide\t-"],
    "dev": ["D_0062 D_0000000001 F - - - AC1 A11 spoof -", "D_0102 D_0000000022 F - - - - bonafide bonafide -"],
    "eval": ["E_1607 E_0009538969 F C05 4 seed7 AC2 A19 spoof -", "E_1608 E_0009538970 M C00 0 - - bonafide bonafide -"],
}
FOLDERS = {"train": "flac_T", "dev": "flac_D", "eval": "flac_E_eval"}
NAMES = {"train": "train.tsv", "dev": "dev.track_1.tsv", "eval": "eval.track_1.tsv"}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for split, lines in LINES.items():
        (tmp_path / FOLDERS[split]).mkdir()
        (tmp_path / f"ASVspoof5.{NAMES[split]}").write_text("\n".join(lines) + "\n")
        for line in lines:
            (tmp_path / FOLDERS[split] / f"{line.split()[1]}.flac").touch()
    return tmp_path


def load(root: Path):
    return load_trials(DataConfig(corpus="asvspoof5", root=root))


def test_protocols_become_the_trial_table(tree):
    trials = load(tree)
    assert list(trials.columns) == COLUMNS and len(trials) == 6
    spoof = trials.set_index("utt_id").loc["E_0009538969"]
    assert (spoof["label"], spoof["speaker"], spoof["attack"], spoof["codec"], spoof["split"]) == (
        "spoof", "E_1607", "A19", "C05", "eval",
    )  # fmt: skip
    assert (trials.loc[trials["label"] == "bonafide", "attack"] == "-").all()


def test_protocols_may_lie_in_their_own_folder_and_eval_may_be_absent(tree):
    (tree / "ASVspoof5_protocols").mkdir()
    for file in tree.glob("*.tsv"):
        file.rename(tree / "ASVspoof5_protocols" / file.name)
    (tree / "ASVspoof5_protocols" / "ASVspoof5.eval.track_1.tsv").unlink()
    assert set(load(tree)["split"]) == {"train", "dev"}


def test_a_missing_protocol_says_where_it_was_looked_for(tree):
    (tree / "ASVspoof5.dev.track_1.tsv").unlink()
    with pytest.raises(TrialTableError, match="dev split; looked for .*ASVspoof5.dev.track_1.tsv.*dev.metadata.txt"):
        load(tree)


@pytest.mark.parametrize("line", ["T_1 T_2 F - - - AC3 A05 spoof", "T_1 T_2 F - - - AC3 A05 fake -", ""])
def test_a_bad_line_is_named(tree, line):
    with (tree / "ASVspoof5.train.tsv").open("a") as file:
        file.write(line + "\n")
    with pytest.raises(TrialTableError, match=r"ASVspoof5\.train\.tsv:3: 10 fields"):
        load(tree)


def test_absent_audio_is_counted(tree):
    (tree / "flac_D" / "D_0000000022.flac").unlink()
    with pytest.raises(TrialTableError, match="1 of 6 listed files are absent"):
        load(tree)


def test_the_profile_is_the_papers_form():
    profile = load_profile("asvspoof5")
    assert profile.model.frontend.name == "facebook/wav2vec2-xls-r-300m" and profile.model.samples == 64_600
    assert not profile.training.feature_cache
