"""Keys and protocols in the forms their organisers publish them in."""

import gzip
import os
from pathlib import Path

import pandas as pd
import pytest

from aasist_lib.config import project_root
from aasist_lib.corpora.protocols import COLUMNS, ProtocolError, read_key
from aasist_lib.corpora.table import TrialTableError

# Lines as in the published files; bona fide lines name no attack, or 'bonafide' as one.
LINES = {
    "ASVspoof 5 protocol": (
        "E_1607 E_0009538969 F C05 4 E_0009538960 AC2 A19 spoof -\n"
        "E_1608\tE_0009538970\tM\t-\t-\t-\t-\tbonafide\tbonafide\t-\n",
        [
            ("E_0009538969", "spoof", "E_1607", "A19", "C05", "F", "4"),
            ("E_0009538970", "bonafide", "E_1608", "-", "none", "M", "-"),
        ],
    ),
    "ASVspoof 5 key": (
        "filename\tcm-label\nE_000001\tbonafide\nE_000002\tspoof\n",
        [("E_000001", "bonafide", "-", "-", "-"), ("E_000002", "spoof", "-", "-", "-")],
    ),
    "ASVspoof 2019 LA": (
        "LA_0039 LA_E_2834763 - A11 spoof\nLA_0079 LA_T_1138215 - - bonafide\n",
        [("LA_E_2834763", "spoof", "LA_0039", "A11", "-"), ("LA_T_1138215", "bonafide", "LA_0079", "-", "-")],
    ),
    "ASVspoof 2021 LA": (
        "LA_0009 LA_E_9332881 alaw ita_tx A07 spoof notrim eval\n"
        "LA_0020 LA_E_7294490 g722 loc_tx bonafide bonafide notrim progress\n",
        [
            ("LA_E_9332881", "spoof", "LA_0009", "A07", "alaw", "eval"),
            ("LA_E_7294490", "bonafide", "LA_0020", "-", "g722", "progress"),
        ],
    ),
    "ASVspoof 2021 DF": (
        "LA_0043 DF_E_2000026 mp3m4a asvspoof A09 spoof notrim eval traditional_vocoder - - - -\n"
        "LA_0023 DF_E_2000053 nocodec asvspoof - bonafide trim hidden bonafide - - - -\n",
        [
            ("DF_E_2000026", "spoof", "LA_0043", "A09", "mp3m4a", "eval"),
            ("DF_E_2000053", "bonafide", "LA_0023", "-", "nocodec", "hidden"),
        ],
    ),
    "ASVspoof 2021 PA": (
        "PA_0010 PA_E_1000001 R1 M3 d4 r1 m2 s4 c4 spoof notrim eval\n"
        "PA_0011 PA_E_1000002 R2 M1 d2 - - - - bonafide notrim progress\n",
        [("PA_E_1000001", "spoof", "PA_0010", "-", "-", "eval"), ("PA_E_1000002", "bonafide", "PA_0011", "-", "-", "progress")],
    ),
    "ASVspoof 2017": (
        "T_1000001.wav genuine M0002 S05 - - -\nT_1000002.wav spoof M0001 S01 E05 P10 R04\n",
        [("T_1000001.wav", "bonafide", "M0002", "-", "-"), ("T_1000002.wav", "spoof", "M0001", "-", "-")],
    ),
    "ASVspoof 2015": (
        "D1 D15_1000001 human human\nD2 D15_1000002 S1 spoof\n",
        [("D15_1000001", "bonafide", "D1", "-", "-"), ("D15_1000002", "spoof", "D2", "S1", "-")],
    ),
    "ASVspoof 5 track 2, a line per speaker": (
        "filename\tspeaker\tcm-label\nE_1\tS1\tbonafide\nE_1\tS2\tbonafide\nE_2\tS1\tspoof\nE_2\tS3\tspoof\n",
        [("E_1", "bonafide", "-", "-", "-"), ("E_2", "spoof", "-", "-", "-")],
    ),
    "fake and real": ("id,label\na,Fake\nb,REAL\n", [("a", "spoof", "-", "-", "-"), ("b", "bonafide", "-", "-", "-")]),
    "human and deepfake": ("a human\nb deepfake\n", [("a", "bonafide", "-", "-", "-"), ("b", "spoof", "-", "-", "-")]),
    "1 and 0": ("a\t1\nb\t0\n", [("a", "bonafide", "-", "-", "-"), ("b", "spoof", "-", "-", "-")]),
    "gender and language": (
        "path,label,sex,lang,duration\na.wav,Bona-Fide,F,de,2.5\nb.wav,spoofed,M,fr,4\n",
        [("a.wav", "bonafide", "-", "-", "-", "F", "de", "2.5"), ("b.wav", "spoof", "-", "-", "-", "M", "fr", "4")],
    ),
    "In-the-Wild": (
        'file,speaker,label\n0.wav,Alec Guinness,spoof\n1.wav,"Barack Obama, live",bona-fide\n',
        [("0.wav", "spoof", "Alec Guinness", "-", "-"), ("1.wav", "bonafide", "Barack Obama, live", "-", "-")],
    ),
    "two columns": ("u1 bonafide\r\nu2  spoof \r\n", [("u1", "bonafide", "-", "-", "-"), ("u2", "spoof", "-", "-", "-")]),
    "own score table": (
        "utt_id;score;label;attack;codec\nu1;0.5;spoof;A01;mp3\nu2;-1;bonafide;-;none\n",
        [("u1", "spoof", "-", "A01", "mp3"), ("u2", "bonafide", "-", "-", "none")],
    ),
}


@pytest.fixture
def write(tmp_path: Path):
    def write(text: str, name: str = "key.txt") -> Path:
        file = tmp_path / name
        file.write_bytes(text.encode())
        return file

    return write


@pytest.mark.parametrize("form", LINES)
def test_every_form_is_found_out_by_its_content(form, write):
    text, rows = LINES[form]
    key = read_key(write(text))
    further = {"ASVspoof 5 protocol": ["gender", "quality"], "gender and language": ["gender", "language", "seconds"]}
    assert list(key.columns) == COLUMNS + further.get(form, ["subset"])[: len(rows[0]) - 5]
    assert list(key.itertuples(index=False, name=None)) == rows
    assert all(isinstance(kind, pd.StringDtype) for kind in key.dtypes)


@pytest.mark.parametrize("form", LINES)
def test_compression_a_byte_order_mark_and_a_missing_last_newline_change_nothing(form, write):
    text, rows = LINES[form]
    file = write("\ufeff" + text.rstrip("\r\n"))
    packed = file.with_suffix(".txt.gz")
    packed.write_bytes(gzip.compress(file.read_bytes()))
    for place in (file, packed):
        assert list(read_key(place).itertuples(index=False, name=None)) == rows


@pytest.mark.parametrize("line", ["X\tu1\t-\tA11\tspoof", "X u1\t- A11\tspoof", " X\tu1\t-\tA11\tspoof\t"])
def test_tabs_and_blanks_separate_alike_from_the_first_line_on(line, write):
    key = read_key(write(f"{line}\nX u2 - A11 spoof\n"))
    assert key[["utt_id", "speaker", "attack"]].to_numpy().tolist() == [["u1", "X", "A11"], ["u2", "X", "A11"]]


@pytest.mark.parametrize("name", ["t.parquet", "t.tsv", "t.csv"])
def test_our_own_tables_are_keys(name, tmp_path):
    table = pd.DataFrame({"utt_id": ["a b", "c"], "score": [1.0, 2.0], "label": ["spoof", "bonafide"], "split": "eval"})
    if name == "t.parquet":
        table.to_parquet(tmp_path / name)
    else:
        table.to_csv(tmp_path / name, sep="\t" if name == "t.tsv" else ",", index=False)
    cells = [["a b", "spoof", *"---", "eval"], ["c", "bonafide", *"---", "eval"]]
    assert read_key(tmp_path / name).to_numpy().tolist() == cells


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("u1 spoof\nu2 spoof more\n", r"key\.txt:2: 2 fields .*label\), .*3: 'u2 spoof more'"),
        ("u1 spoof\nu2\n", r"key\.txt:2: 2 fields .*1: 'u2'"),
        ("u1 spoof\nu2 spoof\n\nu3 spoof\n", r"key\.txt:3: .*utt_id; .*empty"),
        ("a b - A11 spoof\nc d - - bonafide x\n", r"key\.txt:2: 5 fields .*\(ASVspoof 2019 protocol\), .*6"),
        ("utt_id,label\nu1,spoof\nu2\n", r"key\.txt:3: 2 fields .*1"),
        ("utt_id,label\nu1,spoof,1\n", r"key\.txt:2: 2 fields .*3"),
        ("utt_id,label\nu1,spoof\nu2,\n", r"key\.txt:3: .*label"),
        (
            "u1 spoof\nu2 maybe\nu3 so\n",
            r"key\.txt:2: .*label 'maybe'; .*bonafide, .*\(and 1 more",
        ),
        ("u1 spoof\nu2 spoof\nu1 bonafide\n", r"key\.txt:3: .*'u1' .*key\.txt:1"),
        ("filename cm-score\nu1 0.5\n", r"key\.txt:1: .*label or key; .*filename, cm-score"),
        (
            "D_1 D_2 F A11 spoof\nD_1 D_3 F - target\n",
            r"key\.txt:2: .*CM",
        ),
        ("LA_E_1\nLA_E_2\n", r"key\.txt:1: .* 8 \(ASVspoof 2021 LA key\), .* 1: 'LA_E_1'"),
        ("", r"key\.txt:1: .*form of key"),
        ("u1 spoof " + 60 * "x " + "\n", rf" 62: 'u1 spoof {55 * 'x '}x'$"),
        ("u1\t\tspoof\n", r":1: .*utt_id, filename, .* wav; .* 3: 'u1\\t\\tspoof'$"),
        ("a\tu1\t\tx\tspoof\n", r"key\.txt:1: 5 fields .*\(ASVspoof 2019 protocol\), .*4: 'a u1 x spoof'"),
        ("\xa0\tu1\t-\tA11\tspoof\n", r"key\.txt:1: .*speaker"),
        ('utt_id,"label\n', r"/key\.txt:1: .*quotation mark"),
        ("utt_id label\n", r"key\.txt: .*trials"),
    ],
)
def test_a_bad_file_is_named_with_its_line(text, message, write):
    with pytest.raises(ProtocolError, match=message):
        read_key(write(text))


def test_damaged_and_missing_files_say_so(tmp_path):
    (tmp_path / "key.txt").write_bytes(b"\xff\xfe spoof\n")
    (tmp_path / "key.txt.gz").write_bytes(gzip.compress(b"u1 spoof\n" * 100)[:30])
    with pytest.raises(ProtocolError, match=r"key\.txt:1: .*UTF-8.* 0xff\b"):
        read_key(tmp_path / "key.txt")
    with pytest.raises(ProtocolError, match=r"key\.txt\.gz: "):
        read_key(tmp_path / "key.txt.gz")
    (tmp_path / "key.parquet").write_bytes(b"PAR1")
    with pytest.raises(ProtocolError, match=r"key\.parquet: .*damaged"):
        read_key(tmp_path / "key.parquet")
    with pytest.raises(TrialTableError, match="none.txt: "):
        read_key(tmp_path / "none.txt")


def test_a_key_as_long_as_the_eval_set_of_asvspoof_5_is_read_whole(write):
    lines = (f"E_{n % 737} E_{n:010d} F C01 2 E_{n:010d} AC1 A17 spoof -\n" for n in range(680_774))
    file = write("".join(lines))
    key = read_key(file)
    assert len(key) == 680_774 and key["utt_id"].iloc[-1] == "E_0000680773"


def test_the_published_protocol_of_2019_la_is_read_whole():
    folder = Path(os.environ.get("AASIST_REFERENCE", project_root() / ".." / "shared" / "reference"))
    file = folder / "asvspoof2019_la" / "cm_protocol_eval.txt.gz"
    if not file.is_file():
        pytest.skip("no real protocol: set AASIST_REFERENCE to the folder that holds asvspoof2019_la/")
    key = read_key(file)
    assert key["label"].value_counts().to_dict() == {"spoof": 63_882, "bonafide": 7_355}
    assert set(key["attack"]) == {"-", *(f"A{number:02d}" for number in range(7, 20))}


def test_a_heading_that_names_a_column_twice_is_refused(write):
    with pytest.raises(ProtocolError, match=r"key\.txt:1: .*utt_id, label "):
        read_key(write("utt_id,label,utt_id,label\nu1,spoof,u2,spoof\n"))
    assert read_key(write("utt_id,label,x,x\nu1,spoof,1,2\n"))["utt_id"].tolist() == ["u1"]


def test_rows_of_parquet_are_counted_from_1(tmp_path):
    file = tmp_path / "key.parquet"
    pd.DataFrame({"utt_id": ["a", "b"], "label": ["spoof", "maybe"]}).to_parquet(file)
    with pytest.raises(ProtocolError, match=rf"^{file}:2: .*label 'maybe'"):
        read_key(file)
    pd.DataFrame({"utt_id": ["a", "b"]}).to_parquet(file)
    with pytest.raises(ProtocolError, match=rf"^{file}:1: .*column label or "):
        read_key(file)


@pytest.mark.parametrize(
    ("text", "name"), [("S u1 a b - bonafide x evil\n", "subset"), ("utt_id,label,split\nu1,spoof,evil\n", "split")]
)
def test_a_misspelt_subset_or_split_is_not_left_out_in_silence(text, name, write):
    with pytest.raises(ProtocolError, match=rf"key\.txt:[12]: .*{name} 'evil'; "):
        read_key(write(text))
