"""The rehearsal of ASVspoof 5: its tree loads like the real one, links run out without harm, and the whole chain runs on it."""

import errno
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from aasist_lib.config import DataConfig
from aasist_lib.corpora import load_trials

PROJECT = Path(__file__).parents[1]
SCRIPT = PROJECT / "benchmarks" / "rehearsal.py"


@pytest.fixture(scope="module")
def rehearsal():
    spec = importlib.util.spec_from_file_location("rehearsal", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["rehearsal"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_the_tree_loads_with_the_counts_asked_for(rehearsal, tmp_path):
    asked = rehearsal.make_tree(tmp_path / "tree", 300, distinct=4)
    trials = load_trials(DataConfig(corpus="asvspoof5", root=tmp_path / "tree"))
    found = trials.groupby(["split", "label"]).size()
    assert found.to_dict() == {(split, label): count for split, of in asked.items() for label, count in of.items()}
    assert len(trials) == 300
    # 182 357, 140 950 and 680 774 of 1 004 081; one in ten, five and five is bona fide.
    assert found.groupby("split").sum().to_dict() == {"train": 55, "dev": 42, "eval": 203}
    assert found["train", "bonafide"] == 6 and found["eval", "bonafide"] == 41


def test_attacks_codecs_and_speakers_are_each_splits_own(rehearsal, tmp_path):
    rehearsal.make_tree(tmp_path / "tree", 2_000, distinct=2)
    trials = load_trials(DataConfig(corpus="asvspoof5", root=tmp_path / "tree"))
    spoof = trials[trials["label"] == "spoof"].groupby("split")["attack"].agg(set)
    assert {split: (min(of), max(of), len(of)) for split, of in spoof.items()} == {
        "train": ("A01", "A08", 8), "dev": ("A09", "A16", 8), "eval": ("A17", "A32", 16),
    }  # fmt: skip
    coded = trials.groupby("split")["codec"].agg(set)
    assert coded["train"] == coded["dev"] == {"none"}
    assert coded["eval"] == {"none", *(f"C{number:02d}" for number in range(1, 12))}
    assert trials.groupby("speaker")["split"].nunique().max() == 1


def test_a_tree_takes_the_disk_of_its_distinct_recordings_only(rehearsal, tmp_path):
    rehearsal.make_tree(tmp_path / "tree", 300, distinct=4)
    trials = load_trials(DataConfig(corpus="asvspoof5", root=tmp_path / "tree"))
    assert len({os.stat(path).st_ino for path in trials["path"]}) <= 3 * 2 * 4
    bonafide, spoof = (trials.loc[trials["label"] == label, "path"].map(os.path.getsize) for label in ("bonafide", "spoof"))
    assert bonafide.min() > spoof.max()  # noise packs worse than a tone


def test_the_counts_of_the_whole_corpus_are_the_real_ones(rehearsal):
    assert rehearsal.class_counts(1_004_081) == {
        "train": {"bonafide": 18_797, "spoof": 163_560},
        "dev": {"bonafide": 31_334, "spoof": 109_616},
        "eval": {"bonafide": 138_688, "spoof": 542_086},
    }


@pytest.mark.parametrize("trials", [20, 21, 37, 99, 1_003])
def test_no_class_is_empty_and_counts_add_up(rehearsal, trials):
    counts = [count for split in rehearsal.class_counts(trials).values() for count in split.values()]
    assert sum(counts) == trials and min(counts) >= 1


def test_when_an_inode_has_all_its_links_a_copy_goes_on(rehearsal, tmp_path, monkeypatch):
    real, most = os.link, 5

    def few(source, target):
        if os.stat(source).st_nlink >= most:
            raise OSError(errno.EMLINK, "Too many links")
        real(source, target)

    monkeypatch.setattr(os, "link", few)
    rehearsal.make_tree(tmp_path / "tree", 100, distinct=2)
    monkeypatch.undo()
    paths = load_trials(DataConfig(corpus="asvspoof5", root=tmp_path / "tree"))["path"]
    links = pd.Series([os.stat(path).st_nlink for path in paths])
    assert len(paths) == 100 and links.max() == most
    assert len({Path(path).read_bytes() for path in paths}) <= 3 * 2 * 2  # the copies are of the same recordings


def test_a_file_system_without_hard_links_is_named(rehearsal, tmp_path, monkeypatch):
    def refuse(source, target):
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(rehearsal.RehearsalError, match="hard links"):
        rehearsal.make_tree(tmp_path / "tree", 100, distinct=2)


def test_a_folder_that_is_there_is_not_written_into(rehearsal, tmp_path):
    with pytest.raises(rehearsal.RehearsalError, match=str(tmp_path)):
        rehearsal.make_tree(tmp_path, 100)
    with pytest.raises(rehearsal.RehearsalError, match="^7 trials"):
        rehearsal.make_tree(tmp_path / "tree", 7)


def test_time_and_memory_of_a_process_and_its_children_are_seen(rehearsal, tmp_path):
    child = "import time; block = bytearray(b'x') * 60_000_000; time.sleep(0.5)"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}], check=True)"
    used = rehearsal.measured([sys.executable, "-c", parent], tmp_path / "log")
    assert used.seconds > 0.5 and 60 < used.own_mb <= used.resident_mb < 200


def test_mapped_files_are_resident_but_not_own(rehearsal, tmp_path):
    np.save(tmp_path / "a.npy", np.ones(8_000_000))
    code = f"import numpy, time; a = numpy.load({str(tmp_path / 'a.npy')!r}, mmap_mode='r'); a.sum(); time.sleep(0.3)"
    used = rehearsal.measured([sys.executable, "-c", code], tmp_path / "log")
    assert used.own_mb < 55 and used.resident_mb > used.own_mb + 60


def test_a_step_that_fails_says_what_it_said(rehearsal, tmp_path):
    with pytest.raises(rehearsal.RehearsalError, match="exit code 3 .*\n(.*\n)*alas"):
        rehearsal.measured([sys.executable, "-c", "print('alas'); raise SystemExit(3)"], tmp_path / "log")


@pytest.mark.parametrize("change", [lambda s: s[1:], lambda s: [*s, s[0]], lambda s: [*s[1:], s[1]]])
def test_scores_must_be_those_of_eval_each_once(rehearsal, tmp_path, change):
    key, scores = tmp_path / "key.tsv", tmp_path / "scores.tsv"
    key.write_text("".join(f"E_1 E_{n} F - - - - {'bonafide bonafide' if n % 2 else 'A17 spoof'} -\n" for n in range(4)))
    lines = [f"E_{n}\t{n % 2}\n" for n in range(4)]
    scores.write_text("filename\tcm-score\n" + "".join(lines))
    assert rehearsal.checked_eer(scores, key) == 0
    scores.write_text("filename\tcm-score\n" + "".join(change(lines)))
    with pytest.raises(rehearsal.RehearsalError, match=" 4 trials"):
        rehearsal.checked_eer(scores, key)


def test_the_whole_chain_runs_as_a_user_would_type_it(tmp_path):
    command = [sys.executable, SCRIPT, "--synthetic", "--trials", "60", "--folder", tmp_path / "work"]
    command += ["--table", tmp_path / "table.csv", "--figure", tmp_path / "scaling.png"]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    steps = json.loads(done.stdout.splitlines()[-1])["steps"]
    assert [row["step"] for row in steps] == ["tree", "prepare", "features", "train", "score", "evaluate"]
    assert all(0 < row["own_mb"] <= row["resident_mb"] for row in steps[1:])
    assert steps[-1]["eer"] <= 0.5 and pd.read_csv(tmp_path / "table.csv")["trials"].eq(60).all()
    assert (tmp_path / "scaling.png").read_bytes().startswith(b"\x89PNG")
    trials = (tmp_path / "work" / "60" / "tree" / "ASVspoof5.eval.track_1.tsv").read_text().splitlines()
    assert len(pd.read_csv(tmp_path / "work" / "60" / "scores.tsv", sep="\t")) == len(trials) > 35
    assert list((tmp_path / "work" / "60" / "scores_evaluation" / "figures").glob("*.png"))


def test_the_page_shows_what_was_measured(rehearsal):
    table = pd.read_csv(PROJECT / "docs" / "scaling.csv")
    assert table["trials"].max() >= 200_000
    assert rehearsal.markdown(table) in (PROJECT / "docs" / "scale.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("rate", [250, 500, 1000, 2000, 3300])
def test_the_assumed_rates_of_the_plan_are_calculated_rightly(rate):
    """Clips of the real corpus over the rate; 93 and 45 distorted and 1477 read clips a second and core; 149 GFLOP of 989 T."""
    lines = (PROJECT / "docs" / "scale.md").read_text(encoding="utf-8").splitlines()
    (row,) = [line.split("|")[1:-1] for line in lines if line.startswith(f"| {rate} |")]
    train, dev, evaluation = 182_357, 140_950, 680_774
    work = [views * train + dev + evaluation for views in (1, 5)] + [20 * (train + dev) + evaluation]
    times = [", ".join(_duration(clips / rate / gpus) for gpus in (1, 8)) for clips in work]
    cores = [f"{-(-rate // 93)} to {-(-rate // 45)}", f"{-(-rate // 1477)}"]
    share = f"{149 * rate / 989_000 * 100:.0f} %"
    assert [cell.strip() for cell in row] == [str(rate), share, *cores, *times]


def _duration(seconds):
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
