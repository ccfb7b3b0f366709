"""What the operating system may refuse at any time: a message that names the file and what to do, and nothing half-written."""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from aasist_lib import __main__ as cli
from aasist_lib import training
from aasist_lib.audio import write_flac
from aasist_lib.datasets.feature_bank import _Plan
from aasist_lib.models.checkpoints import save_checkpoint, save_state
from aasist_lib.runtime import files
from aasist_lib.runtime.files import RunError, WriteError, advise, alone, atomic, in_turn, sweep
from aasist_lib.runtime.processes import of_library
from aasist_lib.runtime.run_folder import RunFolder
from aasist_lib.runtime.signals import ADVICE
from aasist_lib.training import TrainingError, train
from tests.conftest import ROOT

BIG = 1_000_000


@contextmanager
def full_disk(size: int = 65_536) -> Iterator[None]:
    """No file may become larger: to who writes, as a full disk, with another number (EFBIG)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def _numpy(path: Path) -> None:
    with atomic(path) as file:
        np.save(file, np.zeros(BIG))


def _parquet(path: Path) -> None:
    with atomic(path) as file:
        pd.DataFrame({"a": np.random.default_rng(0).random(BIG)}).to_parquet(file)


def _csv(path: Path) -> None:
    with atomic(path) as file:
        pd.DataFrame({"a": np.zeros(BIG)}).to_csv(file)


WRITERS = {
    "last.pt": lambda path: save_state(path, {"key": "", "a": torch.zeros(BIG)}),
    "block.npy": _numpy,
    "table.parquet": _parquet,
    "scores.csv": _csv,
    "clip.flac": lambda path: write_flac(path, np.random.default_rng(0).uniform(-0.5, 0.5, BIG)),
    "model.safetensors": lambda path: save_checkpoint(path.parent, {"a": torch.zeros(BIG)}, {}),
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_full_disk_leaves_the_old_file_and_says_which_and_what_to_do(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text("old")
    with full_disk(), pytest.raises(WriteError) as raised:
        WRITERS[name](path)
    assert str(raised.value).startswith(f"{path}: ") and "rerun" in str(raised.value)
    assert of_library(raised.value)
    assert path.read_text() == "old" and [file.name for file in tmp_path.iterdir()] == [name]


def test_room_for_features_is_taken_before_they_are_computed(tmp_path: Path) -> None:
    """A page of a memory-mapped file that finds no room would end the process without a word."""
    plan = _Plan(tmp_path, clips=64, views=1, dtype=np.dtype("float32"))
    with full_disk(), pytest.raises(WriteError, match=r"shard-00000\.part\.npy: .*(large|space)"):
        plan.open_part(0, (1, 200, 512))
    assert not list(tmp_path.iterdir())
    array = plan.open_part(0, (1, 200, 512))
    assert plan.part(0).stat().st_blocks * 512 >= array.nbytes


@pytest.mark.parametrize(
    ("number", "advice"),
    [(errno.ENOSPC, "free "), (errno.EROFS, "mount"), (errno.EACCES, "permission"),
     (errno.ENOENT, "restore"), (errno.EDQUOT, "quota"), (errno.ESTALE, "remount"), (errno.EIO, "system log")],
)  # fmt: skip
def test_the_message_says_what_to_do(number: int, advice: str, tmp_path: Path, monkeypatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(files.os, "replace", refuse)
    with pytest.raises(WriteError, match=f"a.txt: .*{advice}") as raised, atomic(tmp_path / "a.txt") as file:
        file.write_text("new")
    assert os.strerror(number) in str(raised.value) and not list(tmp_path.iterdir())


def test_errors_of_what_is_written_stay_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="elsewhere"), atomic(tmp_path / "a.txt"):
        open(tmp_path / "elsewhere")  # noqa: SIM115
    with pytest.raises(TrainingError, match="mine"), atomic(tmp_path / "a.txt"):
        try:
            raise OSError("of a decoder")
        except OSError as error:
            raise TrainingError("mine") from error


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.ENOENT])
def test_the_command_line_tells_the_systems_refusals_in_one_line(number: int, monkeypatch, capsys) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number), "/some/file")

    monkeypatch.setattr(cli, "load_profile", refuse)
    assert cli.main(["train", "demo"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: /some/file: ") and said.count("\n") == 1


def test_a_refusal_without_a_file_is_a_defect_and_keeps_its_traceback(monkeypatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EBADF, "of nothing")

    monkeypatch.setattr(cli, "load_profile", refuse)
    with pytest.raises(OSError, match="of nothing"):
        cli.main(["train", "demo"])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    with pytest.raises(WriteError, match="a.txt: .*permission"), atomic(tmp_path / "a.txt"):
        pass


def test_a_file_in_the_place_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    with (
        pytest.raises(WriteError, match="run/a.txt: |File exists"),
        atomic(tmp_path / "run" / "a.txt"),
    ):
        pass


def test_a_folder_that_vanishes_while_a_file_is_written(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with pytest.raises(WriteError, match="a.txt: .*restore"), atomic(folder / "a.txt") as file:
        file.write_text("new")
        shutil.rmtree(folder)


def test_a_run_folder_that_vanishes_is_not_begun_anew(tiny_profile, tmp_path: Path) -> None:
    run, kept = RunFolder.open(tiny_profile), tmp_path / "elsewhere"

    def vanish(record: training.EpochRecord) -> None:
        if record.epoch == 2:
            run.folder.rename(kept)

    with pytest.raises(RunError, match="manifest.json: .*restore"):
        train(tiny_profile, run, vanish)
    shutil.rmtree(run.folder)
    kept.rename(run.folder)
    assert list(train(tiny_profile, RunFolder.open(tiny_profile)).history["epoch"]) == [1, 2, 3, 4, 5, 6]


def test_a_clock_that_moves_changes_nothing(tiny_profile) -> None:
    """Nothing is chosen for being newer: files from the future or the distant past are gone on from all the same."""
    run = RunFolder.open(tiny_profile)
    short = tiny_profile.model_copy(update={"training": tiny_profile.training.model_copy(update={"epochs": 6})})

    class Stop(Exception):
        pass

    def stop(record: training.EpochRecord) -> None:
        if record.epoch == 3:
            raise Stop

    with pytest.raises(Stop):
        train(short, run, stop)
    made = [path for path in run.folder.rglob("*") if path.is_file()]
    for turn, path in enumerate(made):
        moved = 4_000_000_000 if turn % 2 else 0
        os.utime(path, (moved, moved))
    seen: list[int] = []
    train(short, RunFolder.open(short), lambda record: seen.append(record.epoch))
    assert seen == [4, 5, 6]


# ---- two at once -----------------------------------------------------------------------------------------------------


def test_of_two_the_second_is_told_and_a_lock_that_a_killed_process_left_is_in_nobodys_way(tmp_path: Path) -> None:
    lock = tmp_path / ".lock"
    with alone(lock, TrainingError("busy")):
        with pytest.raises(TrainingError, match="busy"), alone(lock, TrainingError("busy"), patience=0.3):
            pass
    assert not lock.exists()
    lock.touch()
    with alone(lock, TrainingError("busy"), patience=0):
        assert lock.exists()


def test_a_second_process_gets_the_lock_when_the_first_is_gone(tmp_path: Path) -> None:
    hold = f"import fcntl, time; f = open({str(tmp_path / '.lock')!r}, 'w'); fcntl.flock(f, 2); print('held', flush=True); "
    holder = subprocess.Popen([sys.executable, "-c", hold + "time.sleep(600)"], stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(TrainingError), alone(tmp_path / ".lock", TrainingError("busy"), patience=0):
        pass
    threading.Timer(0.5, holder.kill).start()
    with alone(tmp_path / ".lock", TrainingError("busy"), patience=30):
        assert holder.wait() == -9


def test_who_waits_says_so_and_gets_its_turn(tmp_path: Path, capsys) -> None:
    with open(tmp_path / ".lock", "w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        threading.Timer(0.3, lambda: fcntl.flock(other, fcntl.LOCK_UN)).start()
        with in_turn(tmp_path / ".lock", "waiting for it"):
            assert capsys.readouterr().out == "waiting for it\n"
    with in_turn(tmp_path / ".lock", "waiting for it"):
        assert capsys.readouterr().out == ""


def test_two_trainings_in_one_folder(tiny_profile, monkeypatch) -> None:
    run = RunFolder.open(tiny_profile)
    impatient = files.alone.__wrapped__
    monkeypatch.setattr("aasist_lib.runtime.processes.alone", lambda lock, busy: contextmanager(impatient)(lock, busy, 0.2))
    with open(run.path("checkpoints", ".train.lock"), "w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(TrainingError, match="/run; .*run_dir"):
            train(tiny_profile, run)
    assert not list(run.folder.rglob("*.pt"))


def test_what_is_being_written_is_not_swept_and_what_a_killed_process_left_is(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    left = [tmp_path / ".tmp-0123456789ab.pt", tmp_path / "deep" / ".tmp-ba9876543210.json"]
    others = [tmp_path / name for name in (".tmp-notes.csv", ".tmp-0123456789ab-mine.csv", ".tmp-0123456789abc", ".tmp-")]
    for path in left + others:
        path.write_text("half")
    with atomic(tmp_path / "a.txt") as file:
        file.write_text("whole")
        assert sweep(tmp_path, deep=False) == left[:1] and sweep(tmp_path) == left[1:]
    assert (tmp_path / "a.txt").read_text() == "whole" and all(path.exists() for path in others)


def test_what_another_user_left_is_not_swept_and_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, missing_ok: bool = False) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted", str(path))  # as in /tmp

    (left := tmp_path / ".tmp-0123456789ab.csv").write_text("half")
    monkeypatch.setattr(Path, "unlink", refuse)
    assert sweep(tmp_path) == [] and left.exists()


# ---- signals ---------------------------------------------------------------------------------------------------------

STUCK = """
import importlib.machinery, subprocess, sys, time
from aasist_lib import __main__ as cli
class Deaf:
    def __del__(self): waits()
def waits():
    print("waits", flush=True)
    time.sleep(600)
class Slow:
    def find_spec(self, name, *_): return importlib.machinery.ModuleSpec(name, self) if name == "slow" else None
    def create_module(self, spec): pass
    def exec_module(self, module): waits()
def loading():
    sys.meta_path.append(Slow())
    import slow
def stuck(*_):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    print(child.pid, flush=True)
    WAITS
cli.load_profile = stuck
sys.exit(cli.main(["train", "demo"]))
"""
WAITS = {
    "in Python": "waits()",
    "while a module is loaded": "loading()",
    "where Python ignores what is raised": "Deaf(); time.sleep(600)",
}


@pytest.mark.parametrize("number", [2, 15])
@pytest.mark.parametrize("where", WAITS)
def test_a_signal_stops_everything_soon_and_says_how_to_go_on(where: str, number: int) -> None:
    command = [sys.executable, "-c", STUCK.replace("WAITS", WAITS[where])]
    process = subprocess.Popen(command, cwd=ROOT, stdout=-1, stderr=-1, text=True)
    child = int(process.stdout.readline())
    assert process.stdout.readline() == "waits\n"
    sent = time.monotonic()
    process.send_signal(number)
    said, error = process.communicate(timeout=60)
    assert process.returncode == 128 + number and (said, error) == ("", f"{ADVICE}\n")
    assert time.monotonic() - sent < 30  # 5 on a machine that is not overloaded
    deadline = time.monotonic() + 10
    while Path(f"/proc/{child}").exists() and "zombie" not in Path(f"/proc/{child}/status").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_explain_names_the_file_of_the_error() -> None:
    assert advise(OSError(errno.ENOSPC, "No space left on device", "/a/b")).startswith(
        "/a/b: No space left on device; free some"
    )
    assert advise(FileNotFoundError("no folder /a."), "/a/b").startswith("/a/b: no folder /a; its folder is missing")
