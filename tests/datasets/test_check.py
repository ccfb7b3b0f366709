"""The check of all clips before the first step: what it finds, what it remembers, and what follows from it."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from aasist_lib import __main__ as cli
from aasist_lib import audio
from aasist_lib.config import Profile
from aasist_lib.config.augmentation import AugmentationConfig
from aasist_lib.corpora import load_trials
from aasist_lib.datasets import check as preflight
from aasist_lib.datasets.check import BadAudio, find_bad, usable
from aasist_lib.evaluation.matching import join
from aasist_lib.evaluation.score_files import TableError
from aasist_lib.runtime.files import WriteError
from aasist_lib.runtime.run_folder import RunFolder
from tests.conftest import profile_for
from tests.test_team import launch
from tests.test_team import project as project

RATE = 16_000


@pytest.fixture
def clips(tmp_path: Path) -> pd.DataFrame:
    """200 short clips, as many as several worker processes share; two of them are broken."""
    rows = []
    for number in range(200):
        path = tmp_path / "clips" / f"{number}.flac"
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, 0.1 * np.random.default_rng(number).standard_normal(1_000), RATE)
        rows.append((path.stem, str(path)))
    for number in (7, 150):
        path = tmp_path / "clips" / f"{number}.flac"
        path.write_bytes(path.read_bytes()[:-300])
    return pd.DataFrame(rows, columns=["utt_id", "path"])


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that are read, of those that this process itself reads."""
    seen, blocks = [], audio.blocks

    def watched(path: str):
        seen.append(Path(path).name)
        return blocks(path)

    monkeypatch.setattr(audio, "blocks", watched)
    return seen


def test_bad_clips_are_found_by_many_processes_as_by_one(clips, tmp_path, monkeypatch):
    by_many = find_bad(clips, tmp_path / "many.parquet")
    assert list(by_many["utt_id"]) == ["7", "150"] and list(by_many.index) == [7, 150]
    assert by_many["reason"].str.contains("damaged|cut off").all()
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set())
    pd.testing.assert_frame_equal(find_bad(clips, tmp_path / "one.parquet"), by_many)
    kept = [pd.read_parquet(tmp_path / name).sort_values("path", ignore_index=True) for name in ("many.parquet", "one.parquet")]
    pd.testing.assert_frame_equal(*kept)
    assert len(kept[0]) == 198


def test_what_is_sound_is_read_once_and_what_is_not_each_time(clips, tmp_path, read):
    memory, few = tmp_path / "checked.parquet", clips.head(20)
    assert list(find_bad(few, memory)["utt_id"]) == ["7"] and len(read) == 20
    read.clear()
    assert list(find_bad(few, memory)["utt_id"]) == ["7"] and read == ["7.flac"]
    read.clear()
    Path(few["path"][3]).write_bytes(b"text in the place of sound")
    soundfile.write(few["path"][7], np.zeros(100), RATE)
    os.utime(few["path"][5], (1, 1))  # a clock that was wrong: older than all, and yet another file
    assert list(find_bad(few, memory)["utt_id"]) == ["3"] and sorted(read) == ["3.flac", "5.flac", "7.flac"]
    read.clear()
    twice = pd.concat([few, few.assign(utt_id="again")], ignore_index=True)
    assert list(find_bad(twice, memory)["utt_id"]) == ["3", "again"] and read == ["3.flac"]


def test_an_interruption_keeps_what_was_found(clips, tmp_path, read, monkeypatch):
    monkeypatch.setattr(preflight, "CHUNK", 4)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set())
    watched = audio.blocks

    def stopping(path: str):
        if len(read) == 10:
            raise KeyboardInterrupt
        return watched(path)

    monkeypatch.setattr(audio, "blocks", stopping)
    with pytest.raises(KeyboardInterrupt):
        find_bad(clips, tmp_path / "checked.parquet")
    assert len(pd.read_parquet(tmp_path / "checked.parquet")) == 7  # of two chunks of four, one clip of which is broken
    monkeypatch.setattr(audio, "blocks", watched)
    read.clear()
    assert list(find_bad(clips, tmp_path / "checked.parquet")["utt_id"]) == ["7", "150"] and len(read) == 193


def test_what_was_found_is_kept_on_the_way(clips, tmp_path, monkeypatch):
    sizes = []
    monkeypatch.setattr(preflight, "KEEP_SECONDS", -1)
    monkeypatch.setattr(preflight, "_keep", lambda clips, reasons, *_: sizes.append(len(reasons)))
    find_bad(clips, tmp_path / "checked.parquet")
    assert sizes == [64, 128, 192, 200, 200]


def test_what_a_killed_process_left_unfinished_goes(clips, tmp_path):
    (left := tmp_path / ".tmp-0123456789ab.parquet").write_text("half")
    find_bad(clips.head(10), tmp_path / "checked.parquet")
    assert not left.exists() and (tmp_path / "checked.parquet").is_file()


def test_where_nothing_can_be_kept_it_is_said(clips, tmp_path, monkeypatch, capsys):
    def full(table, path, key):
        raise WriteError(f"{path}: Read-only file system")

    monkeypatch.setattr(preflight, "write_table", full)
    assert list(find_bad(clips.head(10), tmp_path / "checked.parquet")["utt_id"]) == ["7"]
    assert "the list of 9 intact clips cannot be written" in capsys.readouterr().out


def test_a_damaged_memory_is_said_and_made_anew(clips, tmp_path, capsys):
    (tmp_path / "checked.parquet").write_bytes(b"PAR1 no")
    assert list(find_bad(clips, tmp_path / "checked.parquet")["utt_id"]) == ["7", "150"]
    assert "checked.parquet: the file is damaged: all clips are checked again" in capsys.readouterr().out
    assert len(pd.read_parquet(tmp_path / "checked.parquet")) == 198


@pytest.fixture
def broken(tiny_encoder: Path, tiny_corpus: Path, tmp_path: Path) -> Profile:
    """The toy profile on a copy of its corpus, of which two dev clips and an eval clip are broken."""
    trials = load_trials(profile_for(tiny_encoder, tiny_corpus, tmp_path).data)
    folder = tmp_path / "corpus"
    folder.mkdir()
    for place, path in enumerate(trials["path"]):
        content = Path(path).read_bytes()
        (folder / Path(path).name).write_bytes(content[: len(content) // 2] if place in (12, 17, 30) else content)
    trials["path"] = [str(folder / Path(path).name) for path in trials["path"]]
    trials.to_parquet(folder / "trials.parquet", index=False)
    return profile_for(tiny_encoder, folder, tmp_path)


def skipping(profile: Profile) -> Profile:
    return profile.model_copy(update={"training": profile.training.model_copy(update={"bad_audio": "skip"})})


def test_an_error_names_splits_clips_reasons_and_the_list(broken):
    trials, lists = load_trials(broken.data), broken.folder / "trials"
    with pytest.raises(BadAudio) as error:
        usable(broken, trials)
    text = str(error.value)
    assert text.startswith("3 clip(s) ") and " (dev 2 of 12, eval 1 of 12):\n" in text
    for row in (12, 17, 30):
        assert f"\n  {trials['path'][row]}: " in text
    assert f"{lists / 'bad_audio_dev.csv'}, {lists / 'bad_audio_eval.csv'}\n" in text
    assert "training.bad_audio=skip" in text
    listed = pd.read_csv(lists / "bad_audio_dev.csv")
    assert list(listed["utt_id"]) == ["dev0", "dev5"] and listed["reason"].str.contains("damaged|cut off").all()
    assert not (lists / "bad_audio_train.csv").exists()
    assert len(usable(broken, trials, ("train",))) == 12, "other splits are not looked at"


def test_skip_leaves_them_out_says_so_and_notes_it(broken, capsys):
    run, trials = RunFolder.open(broken), load_trials(broken.data)
    left = usable(skipping(broken), trials)
    assert set(trials["utt_id"]) - set(left["utt_id"]) == {"dev0", "dev5", "eval6"} and list(left.index) == list(range(33))
    out = capsys.readouterr().out
    assert (
        "3 clip(s) cannot be used as audio (dev 2 of 12, eval 1 of 12)" in out and "left out (training.bad_audio: skip)" in out
    )
    assert run.manifest["notes"] == {"bad_audio_train": 0, "bad_audio_dev": 2, "bad_audio_eval": 1}
    for path in trials["path"][[12, 17, 30]]:
        soundfile.write(path, np.zeros(8_000), RATE)
    assert len(usable(broken, trials)) == 36, "mended"
    assert run.manifest["notes"]["bad_audio_dev"] == 0 and not list((run.folder / "trials").glob("bad_audio*"))


def test_a_split_of_which_nothing_is_left_is_an_error_even_so(broken):
    trials = load_trials(broken.data)
    for path in trials["path"][:12]:
        Path(path).write_bytes(b"")
    with pytest.raises(BadAudio, match=r"(?s)14 clip\(s\).* \(train 12 of 12, dev 2 of 12\).* train: .*data\.root"):
        usable(skipping(broken), trials, ("train", "dev"))


def test_noises_and_responses_are_checked_too(tiny_profile, tmp_path):
    """Else a broken file of theirs would end a training at whatever hour it is drawn."""
    for name in ("noise/a.wav", "noise/b.wav", "music/c.wav", "rooms/d.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        soundfile.write(tmp_path / name, np.full(100, 0.1), RATE)
    items = [
        {"kind": "background", "folder": tmp_path, "kinds": ("noise",)},
        {"kind": "reverberation", "folder": tmp_path / "rooms"},
    ]
    config = AugmentationConfig.model_validate({"distortions": items})
    profile, trials = tiny_profile.model_copy(update={"augmentation": config}), load_trials(tiny_profile.data)
    (tmp_path / "music" / "c.wav").write_text("not drawn")
    assert len(usable(profile, trials)) == 36
    for name in ("noise/b.wav", "rooms/d.wav"):
        (tmp_path / name).write_text("no sound")
    with pytest.raises(BadAudio, match=r"(?s)2 file\(s\) .*augmentation\.distortions.*noise/b\.wav: .*rooms/d\.wav: "):
        usable(skipping(profile), trials)
    assert len(usable(profile, trials, ("dev", "eval"))) == 24


def test_a_table_that_lacks_trials_is_not_evaluated_against_their_key(broken):
    """So that what was left out cannot pass as a result of the whole."""
    key = load_trials(broken.data)
    scored = usable(skipping(broken), key, ("eval",))[["utt_id"]].assign(score=np.arange(11.0))
    with pytest.raises(TableError, match="1 of "):
        join(scored, key)
    assert len(join(scored, key[key["utt_id"] != "eval6"])) == 11


def test_prepare_checks_a_corpus(broken, tmp_path, monkeypatch, capsys):
    table = tmp_path / "corpus" / "table.csv"
    load_trials(broken.data).to_csv(table, index=False)
    corpus = broken.data.model_copy(update={"corpus": "table", "root": table})
    monkeypatch.setattr(cli, "load_profile", lambda *_: profile)
    profile = broken.model_copy(update={"data": corpus})
    assert cli.main(["prepare", "any"]) == 2
    told = capsys.readouterr()
    assert "all files present" in told.out and told.err.startswith(
        "error: 3 clip(s) cannot be used as audio (dev 2 of 12, eval 1"
    )
    profile = skipping(profile)
    assert cli.main(["prepare", "any"]) == 0
    assert "audio: 33 of 36 clips can be read to their end" in capsys.readouterr().out


def test_of_three_processes_one_checks_and_tells(project):
    trials = pd.read_parquet(project / "trials.parquet")
    copied = project / "bad.flac"
    copied.write_bytes(Path(trials["path"][0]).read_bytes()[:500])
    trials.loc[0, "path"] = str(copied)
    trials.to_parquet(project / "trials.parquet", index=False)
    refused = launch(project, 3, "train toy")
    assert refused.returncode != 0 and refused.stderr.count("error: 1 clip(s) cannot be used as audio (train 1 of 7)") == 1
    assert "Traceback" not in refused.stderr.split("error: 1 clip")[0]
    trained = launch(project, 3, "train toy --set training.bad_audio=skip")
    assert trained.returncode == 0, trained.stderr[-3000:]
    assert trained.stdout.count("clip(s) cannot be used as audio") == 1
    assert RunFolder(project / "runs" / "toy").manifest["notes"]["bad_audio_train"] == 1
