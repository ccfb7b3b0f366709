"""ASVspoof 5 in its true format: white-space separated, ten fields, FLACs in one folder a split."""

import shutil
from pathlib import Path

import pytest

from aasist_lib.config import DataConfig
from aasist_lib.corpora import COLUMNS, TrialTableError, load_trials
from aasist_lib.corpora.asvspoof5 import load_asvspoof5

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
    assert list(trials.columns) == [*COLUMNS, "gender", "quality"] and len(trials) == 6
    spoof = trials.set_index("utt_id").loc["E_0009538969"]
    assert (spoof["label"], spoof["speaker"], spoof["attack"], spoof["codec"], spoof["split"]) == (
        "spoof", "E_1607", "A19", "C05", "eval",
    )  # fmt: skip
    assert (spoof["gender"], spoof["quality"]) == ("F", "4")
    assert (trials.loc[trials["label"] == "bonafide", "attack"] == "-").all()
    assert set(trials["corpus"]) == {"asvspoof5"} and set(trials.loc[trials["split"] != "eval", "codec"]) == {"none"}


def test_protocols_may_lie_in_their_own_folder_and_eval_may_be_absent(tree):
    (tree / "ASVspoof5_protocols").mkdir()
    for file in tree.glob("*.tsv"):
        file.rename(tree / "ASVspoof5_protocols" / file.name)
    (tree / "ASVspoof5_protocols" / "ASVspoof5.eval.track_1.tsv").unlink()
    assert set(load(tree)["split"]) == {"train", "dev"}


def test_without_its_eval_set_the_other_splits_are_loaded_in_any_order(tree):
    (tree / "ASVspoof5.eval.track_1.tsv").unlink()
    assert load_asvspoof5(tree, ("eval", "dev", "train"))["split"].tolist() == ["dev"] * 2 + ["train"] * 2


def test_an_eval_set_that_is_asked_for_alone_must_be_there(tree):
    assert set(load_asvspoof5(tree, ("eval",))["split"]) == {"eval"}
    (tree / "ASVspoof5.eval.track_1.tsv").unlink()
    with pytest.raises(TrialTableError, match="protocol .*eval split"):
        load_asvspoof5(tree, ("eval",))


def test_a_missing_protocol_says_where_it_was_looked_for(tree):
    (tree / "ASVspoof5.dev.track_1.tsv").unlink()
    with pytest.raises(TrialTableError, match="protocol .*dev split") as error:
        load(tree)
    for name in ("ASVspoof5.dev.track_1.tsv", "ASVspoof5_protocols/ASVspoof5.dev.metadata.txt"):
        assert f"\n  {tree / name}\n" in str(error.value)
    assert "https://zenodo.org/records/14498691" in str(error.value)


def test_the_names_of_the_challenge_are_known_too(tree):
    for split, name in (("train", "train.tsv"), ("dev", "dev.track_1.tsv"), ("eval", "eval.track_1.tsv")):
        (tree / f"ASVspoof5.{name}").rename(tree / f"ASVspoof5.{split}.metadata.txt")
    assert len(load(tree)) == 6


def test_archives_unpacked_side_by_side_are_found(tree):
    for part, name in (("aa", "E_0009538969"), ("ab", "E_0009538970")):
        (tree / f"flac_E_{part}" / "flac_E_eval").mkdir(parents=True)
        (tree / "flac_E_eval" / f"{name}.flac").rename(tree / f"flac_E_{part}" / "flac_E_eval" / f"{name}.flac")
    shutil.rmtree(tree / "flac_E_eval")
    paths = load(tree).set_index("utt_id")["path"]
    assert paths["E_0009538969"] == str(tree / "flac_E_aa" / "flac_E_eval" / "E_0009538969.flac")
    assert paths["E_0009538970"] == str(tree / "flac_E_ab" / "flac_E_eval" / "E_0009538970.flac")


def test_a_missing_audio_folder_says_where_it_was_looked_for(tree):
    shutil.rmtree(tree / "flac_T")
    with pytest.raises(TrialTableError, match=r"audio .*train split.*\n.*/flac_T\n"):
        load(tree)


def test_a_missing_root_says_so(tmp_path):
    with pytest.raises(TrialTableError, match="/nowhere: .*ASVspoof 5"):
        load(tmp_path / "nowhere")


def test_an_utterance_in_two_splits_names_both_lines(tree):
    with (tree / "ASVspoof5.dev.track_1.tsv").open("a") as file:
        file.write(LINES["train"][1] + "\n")
    (tree / "flac_D" / "T_0000000001.flac").touch()
    with pytest.raises(TrialTableError, match=r"dev\.track_1\.tsv:3: .*'T_0000000001' .*train\.tsv:2"):
        load(tree)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("T_1 T_2 F - - - AC3 A05 spoof", "10 fields"),
        ("T_1 T_2 F - - - AC3 A05 spoof - -", "10 fields"),
        ("T_1 T_2 F - - - AC3 A05 maybe -", "label 'maybe'"),
        ("", "column speaker"),
    ],
)
def test_a_bad_line_is_named(tree, line, message):
    with (tree / "ASVspoof5.train.tsv").open("a") as file:
        file.write(line + "\n")
    with pytest.raises(TrialTableError, match=rf"ASVspoof5\.train\.tsv:3: .*{message}"):
        load(tree)


def test_absent_audio_is_counted(tree):
    (tree / "flac_D" / "D_0000000022.flac").unlink()
    with pytest.raises(TrialTableError, match=rf"^{tree}: 1 of 6 .*\n.*dev\.track_1\.tsv:2: .*/D_0000000022.flac"):
        load(tree)
