"""Scoring recordings with several processes: sharing, resuming, messages printed once, and the same output as one process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from aasist_lib.runtime.run_folder import RunFolder
from aasist_lib.scoring.progress import Progress
from aasist_lib.scoring.recordings import Recording
from aasist_lib.training import train
from tests.conftest import ROOT, SAMPLES, profile_for

COMMAND = """
import os, signal, sys, time
from pathlib import Path
from aasist_lib import __main__
from aasist_lib.scoring import recordings

score, log, others = recordings.score_recording, Path(sys.argv[1]), sorted(Path(sys.argv[2]).glob("*")) if sys.argv[2] else []

def watched(detector, path, *args, **options):
    if others and path == others[4]:
        while sum(len(kept.read_bytes().splitlines()) - 1 for kept in log.parent.glob("*.jsonl")) < 6:
            time.sleep(0.05)  # until the other processes have finished their shares, and this one its first file
        os.kill(os.getpid(), signal.SIGKILL)
    with log.open("a") as file:
        file.write(str(path) + "\\n")
    return score(detector, path, *args, **options)

recordings.score_recording = watched
sys.exit(__main__.main(sys.argv[3:]))
"""


@pytest.fixture(scope="module")
def checkpoint(tiny_encoder: Path, tiny_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    toy = profile_for(tiny_encoder, tiny_corpus, tmp_path_factory.mktemp("many"))
    lfcc = toy.model.frontend.model_copy(update={"kind": "lfcc"})
    short = toy.training.model_copy(update={"epochs": 2})
    profile = toy.model_copy(update={"model": toy.model.model_copy(update={"frontend": lfcc}), "training": short})
    return train(profile, RunFolder.open(profile)).checkpoint


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Seven recordings of different lengths, in the order of their names."""
    rng, paths = np.random.default_rng(0), [tmp_path / "files" / f"{number}.wav" for number in range(7)]
    paths[0].parent.mkdir()
    for number, path in enumerate(paths):
        soundfile.write(path, 0.1 * rng.standard_normal(SAMPLES * (1 + number)), 16_000)
    return paths


@pytest.fixture
def score(checkpoint: Path, tmp_path: Path):
    """Run the command on several processes, with window scores and a log of the scored files; optionally kill it at file 4."""
    (tmp_path / "command.py").write_text(COMMAND)

    def run(processes: int, path: Path, out: str, *more: str, kill: bool = False) -> subprocess.CompletedProcess:
        launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)] if processes > 1 else []
        script = [str(tmp_path / "command.py"), str(tmp_path / f"{out}.log"), str(path) if kill else ""]
        options = ["--checkpoint", str(checkpoint), "--timeline", "--out", str(tmp_path / f"{out}.csv"), *more]
        environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, *launcher, *script, "score", str(path), *options]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)

    return run


def same(folder: Path, one: str, other: str) -> bool:
    """Whether two calls wrote identical files."""
    first, second = ({f.name.removeprefix(out): f.read_bytes() for f in folder.glob(f"{out}*.csv")} for out in (one, other))
    return bool(first) and first == second


def test_seven_files_on_three_processes_are_written_as_by_one(score, files, tmp_path):
    files[3].write_bytes(b"no audio")
    one, three = score(1, files[0].parent, "one"), score(3, files[0].parent, "three")
    assert one.returncode == three.returncode == 1, "some were left out"
    assert same(tmp_path, "one", "three") and len(list(tmp_path.glob("three*.csv"))) == 3
    assert list(pd.read_csv(tmp_path / "three.csv")["utt_id"]) == [str(path) for path in files if path != files[3]]
    assert not list(tmp_path.glob("*.jsonl"))
    assert sorted((tmp_path / "three.log").read_text().split()) == [str(path) for path in files]
    assert three.stdout == one.stdout.replace("one.csv", "three.csv") and "6 of 7 recordings scored" in one.stdout
    assert three.stderr.count("warning: This detector") == three.stderr.count("left out: ") == 1
    assert "scoring, process 1 of 3" in three.stderr and "exitcode  : 1 " in three.stderr


def test_after_a_kill_other_processes_go_on_and_score_nothing_twice(score, files, tmp_path):
    assert score(1, files[0].parent, "one").returncode == 0
    killed = score(3, files[0].parent, "out", kill=True)
    assert killed.returncode != 0 and "exitcode  : -9 " in killed.stderr and not list(tmp_path.glob("out*.csv"))
    assert len(list(tmp_path.glob("out_unfinished*.jsonl"))) == 3
    (tmp_path / "out.log").unlink()
    again = score(2, files[0].parent, "out")
    assert again.returncode == 0 and "resuming: 6 recordings" in again.stdout, again.stderr
    assert (tmp_path / "out.log").read_text().split() == [str(files[4])]
    assert same(tmp_path, "one", "out") and not list(tmp_path.glob("*.jsonl"))


def test_one_file_is_enough_for_three_processes_and_a_broken_one_is_told_once(score, files, tmp_path):
    done = score(3, files[2], "out")
    assert done.returncode == 0 and "1 of 1 recordings scored" in done.stdout, done.stderr
    files[2].write_bytes(b"no audio")
    failed = score(3, files[2], "nothing")
    assert failed.returncode == 1 and failed.stderr.count("error: nothing could be scored") == 1
    assert "exitcode  : 2 " in failed.stderr and "Traceback" not in failed.stderr.split("error: nothing")[0]
    assert not list(tmp_path.glob("nothing*.csv")) and not list(tmp_path.glob("*.jsonl"))


def test_a_mistake_is_told_once(score, files):
    failed = score(2, files[0], "out", "--hop", "9")
    assert failed.stderr.count("error: hop = 9.0 s: windows are 0.5 s long") == 1 and "exitcode  : 2 " in failed.stderr


def recording(path: Path, score: float, channel: str = "mono") -> Recording:
    if not path.exists():
        path.touch()
    timeline = pd.DataFrame({"start": [0.0], "end": [0.5], "score": [score], "loud": [1.0], "decision": ["spoof"]})
    peaks = np.ones(25, np.float32)
    return Recording(str(path), channel, 0.5, score, "spoof", None, False, 0.5, timeline, peaks, ("short",))


def lists(tmp_path: Path, count: int, settings: dict | None = None, said: list[str] | None = None) -> list[Progress]:
    """The lists of several processes when scoring starts."""
    members = [Progress(tmp_path / "out.csv", settings or {"a": 1}, process) for process in range(count)]
    members[0].collect([].append if said is None else said.append)
    for member in members:
        member.read()
    return members


def test_each_process_finds_what_any_had_and_the_first_list_takes_it_over(tmp_path):
    paths = [tmp_path / f"{name}.wav" for name in "abc"]
    for member, path in zip(lists(tmp_path, 3), paths, strict=True):
        member.add(recording(path, 0.1 + len(path.name)))
    with (tmp_path / "out_unfinished.2.jsonl").open("a") as file:
        file.write('{"file": [1, 2], "recor')  # killed while writing
    notes = tmp_path / "out_unfinished.notes.jsonl"
    notes.write_text("mine")
    members = lists(tmp_path, 2)
    assert [len(member) for member in members] == [3, 3] and not (tmp_path / "out_unfinished.2.jsonl").exists()
    for path in paths:
        (found,) = members[1].scored(str(path))
        assert members[1].has(path)
        pd.testing.assert_frame_equal(found.timeline, recording(path, 0.1 + len(path.name)).timeline)
        assert found.score == 0.1 + len(path.name) and found.warnings == ("short",) and found.peaks.shape == (0,)
    members[0].remove()
    assert [path.name for path in tmp_path.glob("*.jsonl")] == [notes.name] and notes.read_text() == "mine"


def test_a_file_that_changed_is_found_by_its_newer_line_only(tmp_path):
    path = tmp_path / "a.wav"
    lists(tmp_path, 1)[0].add(recording(path, 1.0))
    path.write_bytes(b"other")
    first, second = lists(tmp_path, 2)
    assert not first.has(path)
    second.add(recording(path, 2.0))
    first.read()
    assert first.has(path) and first.scored(str(path))[0].score == 2.0
    path.unlink()
    assert not first.has(path) and first.scored(str(path))[0].score == 2.0
    assert len(lists(tmp_path, 1)[0]) == 1, "one line per recording is kept"
    assert len((tmp_path / "out_unfinished.jsonl").read_text().splitlines()) == 2


def test_a_file_is_done_when_all_its_channels_are(tmp_path):
    path = tmp_path / "call.wav"
    (member,) = lists(tmp_path, 1)
    member.add(recording(path, 1.0, "1"), of=2)
    (member,) = lists(tmp_path, 1)
    assert not member.has(path)
    member.add(recording(path, 2.0, "2"), of=2)
    (member,) = lists(tmp_path, 1)
    assert member.has(path) and [each.score for each in member.scored(str(path))] == [1.0, 2.0]


def test_lists_of_another_detector_do_not_count_and_that_is_said(tmp_path):
    for member in lists(tmp_path, 2):
        member.add(recording(tmp_path / f"{member.path.name}.wav", 1.0))
    said: list[str] = []
    assert [len(member) for member in lists(tmp_path, 1, {"a": 2}, said)] == [0]
    assert said == [f"{tmp_path / name}: a was 1 and is 2: its recordings are scored again"
                    for name in ("out_unfinished.jsonl", "out_unfinished.1.jsonl")]  # fmt: skip
    assert [json.loads(line).keys() for line in (tmp_path / "out_unfinished.jsonl").open()] == [{"key"}]
