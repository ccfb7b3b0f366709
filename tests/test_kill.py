"""A short form of benchmarks/reliability: commands are killed and interrupted, and lose nothing."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from aasist_lib.runtime.run_folder import RunFolder
from aasist_lib.training import EpochRecord, train
from benchmarks.reliability.harness import MARKS, fault_table, kill_table, read_tallies, write_table
from benchmarks.reliability.kills import Tally, try_command
from benchmarks.reliability.project import NAMES, Command, make_project
from tests.conftest import ROOT


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Command]:
    return {command.name: command for command in make_project(tmp_path_factory.mktemp("project"))}


@pytest.mark.parametrize(("name", "kills", "typed"), [("features", 2, 0), ("train", 3, 3), ("score", 2, 0)])
def test_what_is_killed_goes_on_and_ends_as_if_it_had_not_been(commands, name, kills, typed) -> None:
    tally = try_command(commands[name], kills, np.random.default_rng(0), typed, signals=2)
    assert (tally.kills, tally.signals) == (kills, 2) and tally.artefacts
    assert tally.equal == tally.ends >= 2, tally.lost
    assert not tally.left and not tally.orphans


def test_neither_workers_nor_a_restart_change_a_training(tiny_profile) -> None:
    """Worker processes are kept from epoch to epoch; a restart begins with new ones."""

    def trained(name: str, workers: int, stops: bool = False) -> pd.DataFrame:
        training = tiny_profile.training.model_copy(update={"workers": workers, "epochs": 3})
        profile = tiny_profile.model_copy(update={"training": training, "run_dir": tiny_profile.run_dir / name})
        if stops:
            with pytest.raises(InterruptedError):
                train(profile, RunFolder.open(profile), stop)
        return train(profile, RunFolder.open(profile)).history.drop(columns="seconds")

    def stop(record: EpochRecord) -> None:
        if record.epoch == 2:
            raise InterruptedError

    alone = trained("alone", 0)
    pd.testing.assert_frame_equal(trained("two", 2), alone, check_exact=True)
    pd.testing.assert_frame_equal(trained("stopped", 2, stops=True), alone, check_exact=True)


def test_a_changed_a_missing_and_a_left_file_are_seen(commands, tmp_path: Path) -> None:
    command = Command("toy", (), tmp_path)
    (tmp_path / "a.csv").write_text("1")
    (tmp_path / "b.csv").write_text("1")
    before = command.results()
    (tmp_path / "a.csv").write_text("2")
    (tmp_path / "b.csv").rename(tmp_path / ".tmp-b.csv")
    after = command.results()
    assert before["a.csv"] != after["a.csv"] and set(after) == {"a.csv"} and command.leftovers() == [".tmp-b.csv"]


def test_the_table_goes_between_its_marks(tmp_path: Path) -> None:
    document = tmp_path / "page.md"
    document.write_text(f"before\n{MARKS[0]}\nold\n{MARKS[1]}\nafter\n")
    tallies = kill_table([Tally("train", 9.5, 3, 20, 6, 2, 0.7, 8, 7, ["run/checkpoints/last.pt"])])
    write_table(document, tallies)
    text = document.read_text()
    assert "7 of 8" in text and "old" not in text and text.startswith("before\n") and text.endswith("after\n")
    write_table(document, tallies)
    assert document.read_text() == text
    document.write_text("no marks")
    with pytest.raises(SystemExit, match="lines"):
        write_table(document, tallies)


def test_the_page_holds_what_the_harness_found() -> None:
    page = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    kills, faults = read_tallies(ROOT / "records" / "reliability.jsonl")
    assert kill_table(kills) in page and fault_table(faults) in page
    assert [tally.command for tally in kills] == list(NAMES)
    assert all(tally.kills >= 20 and tally.equal == tally.ends and not tally.left + tally.lost for tally in kills)
    assert {tally.command for tally in faults} == set(NAMES) and all(tally.equal and not tally.left for tally in faults)
