"""Keys, protocols and trial tables, damaged in every field of every form: a valid table, or an error that says where."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aasist_lib.corpora import read_key, read_trials
from aasist_lib.corpora.asvspoof5 import load_asvspoof5
from aasist_lib.corpora.asvspoof2019 import load_asvspoof2019_la
from aasist_lib.corpora.asvspoof2021 import load_asvspoof2021_df, load_asvspoof2021_la
from aasist_lib.corpora.folder import load_table
from aasist_lib.corpora.in_the_wild import load_in_the_wild
from tests.fuzzing import SETTINGS, check_trials, damages, outcome, packed, undamaged

FORMS: dict[str, tuple[str, list[str]]] = {
    "two columns": (" ", ["u1 bonafide", "u2 spoof", "u3 bonafide", "u4 spoof"]),
    "asvspoof2019_la": (
        " ",
        ["LA_01 LA_E_1 - - bonafide", "LA_02 LA_E_2 - A07 spoof", "LA_01 LA_E_3 - - bonafide", "LA_02 LA_E_4 - A08 spoof"],
    ),
    "asvspoof2021_la": (
        " ",
        [
            "LA_01 LA_E_1 alaw ita_tx bonafide bonafide notrim eval",
            "LA_02 LA_E_2 g722 loc_tx A07 spoof notrim eval",
            "LA_01 LA_E_3 none none bonafide bonafide notrim eval",
            "LA_02 LA_E_4 none none A08 spoof notrim eval",
            "LA_02 LA_E_5 none none A08 spoof notrim hidden",
            "LA_02 LA_E_6 none none A08 spoof notrim progress",
        ],
    ),
    "asvspoof2021_df": (
        " ",
        [
            "LA_01 DF_E_1 nocodec asvspoof - bonafide notrim eval bonafide - - - -",
            "LA_02 DF_E_2 mp3m4a asvspoof A07 spoof notrim eval traditional_vocoder - - - -",
            "LA_01 DF_E_3 nocodec asvspoof - bonafide notrim eval bonafide - - - -",
            "LA_02 DF_E_4 nocodec vcc2018 A08 spoof notrim eval neural_vocoder Task1 team01 FF E",
            "LA_02 DF_E_5 nocodec asvspoof A08 spoof trim hidden traditional_vocoder - - - -",
        ],
    ),
    "asvspoof5": (
        "\t",
        [
            "E_1 E_0001 F C05 4 E_0009 AC2 A19 spoof -",
            "E_2 E_0002 M - - - - bonafide bonafide -",
            "E_1 E_0003 F C05 4 E_0009 AC2 A20 spoof -",
            "E_2 E_0004 M C01 2 - - bonafide bonafide -",
        ],
    ),
    "asvspoof5 key": ("\t", ["filename cm-label", "E_1 bonafide", "E_2 spoof", "E_3 bonafide", "E_4 spoof"]),
    "in_the_wild": (
        ",",
        ["file speaker label", "0.wav Ada spoof", "1.wav Bob bona-fide", "2.wav Ada spoof", "3.wav Bob bona-fide"],
    ),
    "own score table": (";", ["utt_id score label attack codec", "u1 0.5 spoof A01 mp3", "u2 -1 bonafide - none"]),
    "own trial table": (
        ",",
        [
            "utt_id path label speaker attack codec split corpus",
            "u1 u1.wav bonafide ann - none eval mine",
            "u2 u2.wav spoof bob A01 mp3 eval mine",
            "u3 u3.wav spoof bob A02 mp3 dev mine",
        ],
    ),
}
FIELDS = {form: [line.split() for line in lines] for form, (_, lines) in FORMS.items()}


def whole(form: str) -> bytes:
    return "".join(FORMS[form][0].join(line) + "\n" for line in FIELDS[form]).encode()


def hurt(form: str):
    return damages(FIELDS[form], FORMS[form][0], heading={"utt_id", "filename", "file"} & set(FIELDS[form][0]) != set())


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys")


@pytest.mark.parametrize("form", FORMS)
@SETTINGS
@given(data=st.data())
def test_a_key_is_read_or_refused_with_its_line(place: Path, form: str, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(["key.txt", "key.csv", "key.tsv.gz"]))
    damage = data.draw(packed(hurt(form)) if name.endswith(".gz") else hurt(form))
    table = outcome(read_key, place / name, damage, undamaged(read_key, place / f"{form}.txt", whole(form)))
    if table is not None:
        check_trials(table)


TREES = {
    "asvspoof2019_la": ("ASVspoof2019.LA.cm.eval.trl.txt", "ASVspoof2019_LA_eval/flac/{}.flac", load_asvspoof2019_la),
    "asvspoof2021_la": ("trial_metadata.txt", "flac/{}.flac", load_asvspoof2021_la),
    "asvspoof2021_df": ("trial_metadata.txt", "flac/{}.flac", load_asvspoof2021_df),
    "asvspoof5": ("ASVspoof5.eval.track_1.tsv", "flac_E_eval/{}.flac", load_asvspoof5),
    "in_the_wild": ("meta.csv", "{}", load_in_the_wild),
}


@pytest.mark.parametrize("form", TREES)
@SETTINGS
@given(data=st.data())
def test_a_corpus_is_loaded_or_refused_with_the_line_of_its_protocol(place: Path, form: str, data: st.DataObject) -> None:
    protocol, audio, load = TREES[form]
    root = place / form
    for line in FIELDS[form][form == "in_the_wild" :]:
        clip = root / audio.format(line[form != "in_the_wild"])
        clip.parent.mkdir(parents=True, exist_ok=True)
        clip.touch()

    def read(_: Path) -> pd.DataFrame:
        return load(root, ("eval",))

    file = root / protocol
    table = outcome(read, file, data.draw(hurt(form)), undamaged(read, file, whole(form)))
    if table is not None:
        check_trials(table)
        assert all(Path(path).is_file() for path in table["path"])


@pytest.mark.parametrize("name", ["mine.csv", "mine.tsv"])
@pytest.mark.parametrize("read", [load_table, read_trials])
@SETTINGS
@given(data=st.data())
def test_a_trial_table_is_read_or_refused_with_its_line(place: Path, read, name: str, data: st.DataObject) -> None:
    mark = "\t" if name.endswith("tsv") else ","
    lines = FIELDS["own trial table"]
    for line in lines[1:]:
        (place / line[1]).touch()
    content = "".join(mark.join(line) + "\n" for line in lines).encode()
    damage = data.draw(damages(lines, mark, heading=True))
    table = outcome(read, place / name, damage, undamaged(read, place / name, content))
    if table is not None:
        check_trials(table)
        assert all(Path(path).is_file() for path in table["path"])
