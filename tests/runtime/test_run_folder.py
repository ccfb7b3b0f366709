"""The run folder: atomic writes, the manifest, figures and tables."""

from __future__ import annotations

import json
import multiprocessing
import subprocess
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import pytest

from aasist_lib.config import Profile
from aasist_lib.runtime.files import RunError, atomic, sha256, to_json
from aasist_lib.runtime.provenance import git_state
from aasist_lib.runtime.run_folder import RunFolder, unchanged

matplotlib.use("Agg")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """A new run folder, written to as if by notebook 03."""
    monkeypatch.setenv("AASIST_NOTEBOOK", "03")
    return RunFolder.open(Profile(name="toy", title="Toy", run_dir=tmp_path / "run"), tmp_path)


def figure():
    """A small figure."""
    import matplotlib.pyplot as plt

    made, axes = plt.subplots(figsize=(2, 1))
    axes.plot([0, 1], [1, 0], label="EER")
    axes.legend()
    return made


def test_atomic_keeps_the_old_file_when_the_writer_fails(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "scores.npz"
    with atomic(target) as file:
        assert file.suffix == ".npz" and file.parent == target.parent
        file.write_text("old")
    with pytest.raises(ZeroDivisionError), atomic(target) as file:
        file.write_text("half")
        raise ZeroDivisionError
    assert target.read_text() == "old"
    assert list(target.parent.iterdir()) == [target]


def test_json_takes_numpy_and_refuses_nan() -> None:
    value = {"a": np.float32(0.5), "b": np.arange(2), "c": Path("x"), "d": np.bool_(True)}
    assert json.loads(to_json(value)) == {"a": 0.5, "b": [0, 1], "c": "x", "d": True}
    with pytest.raises(RunError, match="None"):
        to_json({"a": float("nan")})


def test_manifest_says_what_the_run_was_made_from(run: RunFolder) -> None:
    manifest = run.manifest
    assert manifest["schema"] == 1 and manifest["seed"] == 1 and manifest["config"]["training"]["epochs"] == 20
    assert manifest["packages"]["torch"] and manifest["device"]["cores"] >= 1 and manifest["python"].startswith("3.")
    assert manifest["git"] == {"commit": None, "dirty": None}  # a temporary folder is no clone


def test_git_state_tells_a_clean_clone_from_a_changed_one(tmp_path: Path) -> None:
    def git(*arguments: str) -> None:
        identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        subprocess.run(["git", "-C", tmp_path, *identity, *arguments], check=True, capture_output=True)

    git("init")
    (tmp_path / "file").write_text("1")
    git("add", "file")
    git("commit", "-m", "first")
    state = git_state(tmp_path)
    assert len(state["commit"]) == 40 and state["dirty"] is False
    (tmp_path / "file").write_text("2")
    assert git_state(tmp_path)["dirty"] is True


def test_artefacts_are_listed_with_hash_and_owner(run: RunFolder) -> None:
    path = run.write_json("metrics/a.json", {"x": 1})
    table = run.write_parquet("scores/dev.parquet", pd.DataFrame({"score": [1.0]}))
    entries = run.manifest["artefacts"]
    assert entries["metrics/a.json"]["sha256"] == sha256(path) and entries["metrics/a.json"]["notebook"] == "03"
    assert entries["scores/dev.parquet"]["bytes"] == table.stat().st_size


def test_sync_finds_new_changed_and_lost_files(run: RunFolder) -> None:
    run.write_text("metrics/kept.txt", "kept")
    run.write_text("metrics/lost.txt", "lost")
    run.write_text("metrics/changed.txt", "before")
    (run.folder / "metrics/lost.txt").unlink()
    (run.folder / "metrics/changed.txt").write_text("after!")
    run.path("attention", "new.bin").write_bytes(b"new")
    run.path("attention", ".hidden", "checkpoint").write_bytes(b"no artefact")
    run.sync("05")
    owners = {name: entry["notebook"] for name, entry in run.manifest["artefacts"].items()}
    assert owners == {"attention/new.bin": "05", "metrics/changed.txt": "05", "metrics/kept.txt": "03"}


def test_sync_without_an_owner_leaves_a_changed_file_with_its_notebook(run: RunFolder, monkeypatch) -> None:
    path = run.write_text("metrics/a.txt", "before")
    path.write_text("after!")
    monkeypatch.delenv("AASIST_NOTEBOOK")
    run.sync()
    assert run.manifest["artefacts"]["metrics/a.txt"]["notebook"] == "03"
    assert run.manifest["artefacts"]["metrics/a.txt"]["sha256"] == sha256(path)


def test_unchanged_looks_at_the_content_when_only_the_time_differs(run: RunFolder) -> None:
    path = run.write_text("metrics/a.txt", "same")
    entry = run.manifest["artefacts"]["metrics/a.txt"]
    path.write_text("same")
    assert unchanged(path, entry)
    path.write_text("diff")
    assert not unchanged(path, entry) and not unchanged(path, None)


def _write_many(folder: Path, first: int) -> None:
    for number in range(first, first + 20):
        RunFolder(folder).write_text(f"metrics/{number}.txt", str(number))


def test_two_processes_write_one_manifest(run: RunFolder) -> None:
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_write_many, args=(run.folder, first)) for first in (0, 20)]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        assert run.manifest["schema"] == 1  # a reader never meets half a file
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert len(run.manifest["artefacts"]) == 40


def test_the_same_figure_gives_the_same_bytes_and_keeps_its_alt_text(run: RunFolder) -> None:
    shown = run.save_figure(figure(), "history", alt='EER < 5 % & "falling"', caption="Caption")
    before = {name: entry["sha256"] for name, entry in run.manifest["artefacts"].items()}
    assert set(before) == {"figures/history.png", "figures/history.svg", "figures/history.pdf"}
    assert 'alt="EER &lt; 5 % &amp; &quot;falling&quot;"' in shown.data and "<figcaption>Caption" in shown.data
    for file in run.folder.glob("figures/*"):
        file.unlink()
    run.save_figure(figure(), "history", alt="again")
    assert {name: entry["sha256"] for name, entry in run.manifest["artefacts"].items()} == before
    assert run.manifest["exhibits"]["figure/history"] == {"notebook": "03", "alt": "again", "caption": ""}


@pytest.mark.parametrize(("name", "alt", "message"), [("a", " ", "'a'.* alt"), ("../a", "x", r"'\.\./a'")])
def test_a_figure_needs_alt_text_and_a_plain_name(run: RunFolder, name: str, alt: str, message: str) -> None:
    with pytest.raises(RunError, match=message):
        run.save_figure(figure(), name, alt)
    assert run.manifest["exhibits"] == {}


def test_a_table_keeps_its_numbers_and_is_shown_formatted(run: RunFolder) -> None:
    table = pd.DataFrame({"attack": ["world", "lpc"], "EER": [0.12345678901, np.nan]})
    shown = run.save_table(table, "by_attack", "EER by attack", {"EER": "{:.1%}"})
    assert list(shown["EER"]) == ["12.3%", "–"]
    assert run.read_json("metrics/by_attack.json") == [
        {"attack": "world", "EER": 0.12345678901},
        {"attack": "lpc", "EER": None},
    ]
    assert pd.read_csv(run.folder / "metrics/by_attack.csv")["EER"][0] == 0.12345678901
    with pytest.raises(RunError, match="'by_attack'.*'eer'"):
        run.save_table(table, "by_attack", "EER by attack", {"eer": "{:.1%}"})


def test_the_report_s_list_follows_the_last_run_of_a_notebook(run: RunFolder) -> None:
    table = pd.DataFrame({"x": [1]})
    for name in ("first", "second", "first"):
        run.save_table(table, name, "caption")
    assert list(run.manifest["exhibits"]) == ["table/second", "table/first"]
    run.forget_exhibits("03")
    assert run.manifest["exhibits"] == {}


def test_a_summary_item_has_a_label_and_a_value(run: RunFolder) -> None:
    run.save_summary([{"label": "EER", "value": "7.9 %"}])
    assert run.read_json("metrics/summary_03.json") == [{"label": "EER", "value": "7.9 %", "note": ""}]
    with pytest.raises(RunError, match="label, value"):
        run.save_summary([{"label": "EER", "val": "7.9 %"}])


def test_paths_stay_inside_and_missing_artefacts_are_named(run: RunFolder) -> None:
    with pytest.raises(RunError, match="elsewhere"):
        run.path("..", "elsewhere")
    with pytest.raises(RunError, match="none.json"):
        run.read_json("metrics/none.json")
    with pytest.raises(RunError, match="checkpoints/best"):
        run.record("checkpoints/best")


def test_sweep_removes_what_a_killed_process_left(run: RunFolder) -> None:
    left = run.path("metrics", ".tmp-0123456789ab.json")
    left.write_text("half")
    assert run.sweep() == [left] and not left.exists()


def test_another_schema_is_refused(run: RunFolder) -> None:
    (run.folder / "manifest.json").write_text('{"schema": 99}')
    with pytest.raises(RunError, match="manifest.json: .*99"):
        run.annotate(device="cpu")
