"""The notebook runner, with toy notebooks in real kernels."""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import psutil
import pytest

from aasist_lib.config import ConfigError, load_profile, project_root
from aasist_lib.runtime.files import RunError
from aasist_lib.runtime.run_folder import RunFolder
from aasist_lib.runtime.signals import ADVICE
from aasist_lib.workbook import files_given, given_path, open_notebook, open_scores, report, run, runner
from aasist_lib.workbook.kernel import NotebookError
from tests.notebooks import toys

ROOT = Path(__file__).parents[2]
INTERRUPTED = """
import subprocess, time, os, pathlib
from aasist_lib.runtime.files import atomic
worker = subprocess.Popen(["sleep", "120"])
with atomic(run.path("metrics", "half.json")) as file:
    file.write_text("{")
    pathlib.Path("pids.tmp").write_text(f"{os.getpid()} {worker.pid}")
    os.replace("pids.tmp", "pids")
    time.sleep(120)
"""


@pytest.fixture(autouse=True)
def _kernels_find_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


@pytest.fixture
def enter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A function that creates a toy project with the given notebook numbers, changes into it and returns its root."""

    def make(*notebooks: str) -> Path:
        monkeypatch.chdir(toys.project(tmp_path / "project", notebooks))
        return Path.cwd()

    return make


def statuses(printed: str) -> dict[str, str]:
    """Return the printed status of each notebook."""
    rows = [line.split() for line in printed.splitlines() if line[:2].isdigit()]
    return {row[0]: row[1] for row in rows}


def runs_still(pid: int) -> bool:
    """Whether a process exists, is not a zombie, and does not end within a minute: a killed one needs a moment to go."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            if psutil.Process(pid).status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):
                return False
        except psutil.NoSuchProcess:
            return False
        time.sleep(0.1)
    return True


def test_runs_in_order_skips_what_is_unchanged_and_reruns_what_is_not(enter, capfd) -> None:
    root = enter("01", "03")
    first = "run.write_json('metrics/a.json', 1)\nprint('halfway')"
    toys.notebook(root, "01_data", first, artefacts=["metrics/a.json"])
    second = "a = run.read_json('metrics/a.json')\nrun.write_json('metrics/b.json', a + 1)"
    toys.notebook(root, "03_train", second, artefacts=["metrics/b.json"])
    assert run("toy") == 0
    printed = capfd.readouterr().out
    assert statuses(printed) == {"01_data": "ok", "03_train": "ok"} and "  01 | halfway" in printed
    assert "runs/toy/report/index.html" in printed and (root / "runs/toy/report/index.html").is_file()
    assert json.loads((root / "runs/toy/metrics/b.json").read_text()) == 2
    folder = RunFolder(root / "runs/toy")
    assert [record["status"] for record in folder.manifest["notebooks"].values()] == ["ok", "ok"]
    assert folder.manifest["artefacts"]["notebooks/03_train.ipynb"]["notebook"] == "03"

    assert run("toy") == 0
    assert statuses(capfd.readouterr().out) == {"01_data": "skipped", "03_train": "skipped"}

    (root / "runs/toy/metrics/a.json").unlink()  # rebuilt with the same content, so 03 stays valid
    assert run("toy") == 0
    assert statuses(capfd.readouterr().out) == {"01_data": "ok", "03_train": "skipped"}

    toys.notebook(root, "03_train", second + "\n# changed", artefacts=["metrics/b.json"])
    assert run("toy", only=["3"]) == 0
    assert statuses(capfd.readouterr().out) == {"03_train": "ok"}


def test_a_changed_input_or_override_makes_later_notebooks_run(enter, capfd) -> None:
    root = enter("01", "03")
    toys.notebook(root, "01_data", "run.write_json('metrics/a.json', profile.seed)")
    toys.notebook(root, "03_train", "run.write_json('metrics/seed.json', profile.seed)")
    assert run("toy", ["seed=7", "title=two words"]) == 0
    assert json.loads((root / "runs/toy/metrics/seed.json").read_text()) == 7
    assert RunFolder(root / "runs/toy").manifest["title"] == "two words"
    capfd.readouterr()
    (root / "runs/toy/metrics/a.json").write_text("8\n")
    assert run("toy", ["seed=7", "title=two words"], only=["03"]) == 0
    assert statuses(capfd.readouterr().out) == {"03_train": "ok"}


def test_the_kernel_is_this_interpreter_whatever_is_installed_for_the_user(enter, tmp_path, monkeypatch) -> None:
    spec = tmp_path / "data" / "kernels" / "python3"
    spec.mkdir(parents=True)
    (spec / "kernel.json").write_text('{"argv": ["/bin/false"], "display_name": "x", "language": "python"}')
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "data"))
    root = enter("01")
    seen = "import os, sys\nrun.write_json('metrics/seen.json', [sys.executable, os.getcwd(), "
    toys.notebook(root, "01_data", seen + "os.environ['AASIST_HEADLESS'], os.environ['AASIST_NOTEBOOK']])")
    assert run("toy") == 0
    assert json.loads((root / "runs/toy/metrics/seen.json").read_text()) == [sys.executable, str(root), "1", "01"]
    assert "AASIST_HEADLESS" not in os.environ


def test_a_failing_notebook_stops_the_run_and_is_shown(enter, capfd) -> None:
    root = enter("01", "03")
    toys.notebook(root, "01_data", "x = 41", "wrong = x / 0\nprint(wrong)")
    toys.notebook(root, "03_train", "run.write_json('metrics/b.json', 1)")
    assert run("toy") == 1
    printed = capfd.readouterr()
    assert statuses(printed.out) == {"01_data": "failed"}
    assert "01_data: cell [5] failed with ZeroDivisionError: division by zero" in printed.err
    assert "    wrong = x / 0" in printed.err and "\x1b" not in printed.err
    executed = nbformat.read(root / "runs/toy/notebooks/01_data.ipynb", as_version=4)
    assert any(output.output_type == "error" for cell in executed.cells for output in cell.get("outputs", ()))
    record = RunFolder(root / "runs/toy").manifest["notebooks"]
    assert record["01"]["status"] == "failed" and "03" not in record
    assert run("toy") == 1  # a failure is never skipped


def test_a_failing_notebook_leaves_a_report_of_those_that_worked(enter, capfd) -> None:
    root = enter("01", "03", "05")
    toys.notebook(root, "01_data", "run.save_summary([{'label': 'Clips', 'value': '4711'}])")
    toys.notebook(root, "03_train", "run.save_summary([{'label': 'Epochs', 'value': '0815'}])\nraise ValueError('no luck')")
    toys.notebook(root, "05_eer", "x = 1")
    assert run("toy") == 1
    printed = capfd.readouterr()
    page = root / "runs/toy/report/index.html"
    assert "report (of the notebooks that worked): " in printed.out
    text = page.read_text(encoding="utf-8")
    assert "4711" in text and "failed" in text and "05_eer" not in text


def test_a_formula_that_cannot_be_drawn_fails_its_notebook(enter, capfd) -> None:
    root = enter("01")
    for text, said in (("# $x^2$ and `$x^a^b$`", None), ("# $x^a^b$", "x^a^b"), ("# a\n\n$$\\left( x$$", "left")):
        toys.notebook(root, "01_data", text, "x = 1")
        assert run("toy") == (1 if said else 0), text
        printed = capfd.readouterr()
        if said:
            assert "formulae in its text cannot be rendered: " in printed.err and said in printed.err
            assert statuses(printed.out) == {"01_data": "failed"} and "report (of the notebooks that worked)" in printed.out


TRAINED = """
with run.manifest_update() as manifest:
    manifest["trained"] = {"epochs": 7, "settings": profile.training_settings()}
"""


def test_a_finished_training_is_not_trained_over_without_being_asked(enter, capfd) -> None:
    root = enter("01")
    toys.notebook(root, "01_data", TRAINED)
    assert run("toy", ["training.epochs=7"]) == 0 and run("toy", ["training.epochs=7", "evaluation.replicates=3"]) == 0
    with pytest.raises(RunError) as error:
        run("toy", ["training.epochs=9", "seed=2"])
    said = str(error.value)
    assert "(7 epochs)" in said
    assert "seed was 1 and is 2" in said and "training.epochs was 7 and is 9" in said
    for name in ("--set name=toy-2", 'SET = "name=toy-2"', "--overwrite"):
        assert name in said
    assert run("toy", ["training.epochs=9", "seed=2", "name=toy-2"]) == 0, "the first fix in the message"
    assert RunFolder(root / "runs/toy").manifest["trained"]["settings"]["training"]["epochs"] == 7
    assert run("toy", ["training.epochs=9", "seed=2"], overwrite=True) == 0, "the second fix"
    assert RunFolder(root / "runs/toy").manifest["trained"]["settings"]["training"]["epochs"] == 9


def test_a_run_does_not_go_into_the_folder_of_an_evaluation(enter) -> None:
    root = enter("01")
    toys.notebook(root, "01_data", "x = 1")
    (root / "scores.txt").write_text("a 1\n")
    RunFolder.of_evaluation(root / "runs/toy", {"scores": "scores.txt"})
    with pytest.raises(RunError, match="scores scores.txt: .*--set name"):
        run("toy")


@pytest.mark.parametrize(
    "name", ["demo.txt", "aasist.lr1e-4.txt", ".scores.txt", "team's scores (1).csv", "toy.tsv.gz", "ünï.txt"]
)
def test_any_score_file_gets_a_folder_that_is_no_run(enter, name: str) -> None:
    """Even a file with the same name as a run."""
    root = enter()
    for run_name in ("demo", "toy"):
        RunFolder.open(load_profile("toy", [f"name={run_name}"]))
    before = {path: path.read_bytes() for path in root.glob("runs/*/manifest.json")}
    (root / name).write_text("a 1\n")
    (root / "elsewhere").mkdir()
    (root / "elsewhere" / name).write_text("a 2\n")
    places = []
    for file in (name, name, f"elsewhere/{name}"):
        _, folder = open_scores("toy", "", "05", {"scores": file, "key": ""})
        places.append(folder.folder.relative_to(root / "runs").as_posix())
        assert folder.manifest["evaluation"]["scores"].startswith(f"{root / file}, sha256 ")
    stem = {".scores.txt": "scores", "toy.tsv.gz": "toy"}.get(name, name.rpartition(".")[0])
    assert places == [f"evaluations/{stem}", f"evaluations/{stem}", f"evaluations/{stem}-2"]
    assert {path: path.read_bytes() for path in before} == before


def test_paths_of_parameters_count_from_the_root_and_say_where_a_file_is_instead(enter, monkeypatch) -> None:
    root = enter()
    for name in ("a.txt", "notebooks/b.txt"):
        (root / name).write_text("x 1\n")
    monkeypatch.chdir(root / "notebooks")
    assert files_given({"scores": "a.txt", "key": str(root / "a.txt"), "asv": ""}) == {
        "scores": root / "a.txt", "key": root / "a.txt",
    }  # fmt: skip
    with pytest.raises(ConfigError) as error:
        files_given({"scores": "b.txt"})
    told = root / "notebooks" / "b.txt"
    assert re.search(f"SCORES = 'b.txt': {root / 'b.txt'} .*{root}; {told} ", str(error.value))
    assert files_given({"scores": str(told)}) == {"scores": told}
    for place in ("PATHS", "COMPARE"):
        with pytest.raises(ConfigError, match=f"{place} = 'none': .*{root}$"):
            given_path("none", place)


def test_a_broken_promise_or_a_dead_kernel_is_a_failure(enter, capfd) -> None:
    root = enter("01")
    toys.notebook(root, "01_data", "x = 1", artefacts=["metrics/a.json"], external=["{data.root}/trials.parquet"])
    assert run("toy") == 1
    assert "promised artefacts: metrics/a.json, data/demo/trials.parquet" in capfd.readouterr().err
    toys.notebook(root, "01_data", "import os\nos._exit(3)")
    assert run("toy") == 1
    printed = capfd.readouterr()
    assert "DeadKernelError" in printed.err and statuses(printed.out) == {"01_data": "failed"}


def test_what_is_promised_of_the_demo_corpus_is_not_asked_of_another(enter) -> None:
    root = enter("01")
    toys.notebook(root, "01_data", "x = 1", external=["{data.root}/trials.parquet"])
    assert run("toy", ["data.corpus=folder"]) == 0 and run("toy") == 1


def test_an_external_file_that_changes_makes_its_notebook_run(enter, capfd) -> None:
    root = enter("01")
    write = "from pathlib import Path\nPath('data/demo').mkdir(parents=True, exist_ok=True)\n"
    toys.notebook(root, "01_data", write + "Path('data/demo/t').write_text('1')", external=["{data.root}/t"])
    assert run("toy") == 0 and run("toy") == 0
    assert list(statuses(capfd.readouterr().out).values()) == ["skipped"]  # of the last run
    (root / "data/demo/t").unlink()
    assert run("toy") == 0
    assert statuses(capfd.readouterr().out) == {"01_data": "ok"} and (root / "data/demo/t").exists()


@pytest.mark.parametrize(
    ("parameters", "message"),
    [(None, "'parameters'"), ('PROFILE: str = "toy"', "parameters .*SET")],
)
def test_parameters_that_would_be_lost_are_refused(enter, parameters: str | None, message: str) -> None:
    root = enter("01")
    toys.notebook(root, "01_data", parameters=parameters)
    with pytest.raises(NotebookError, match=message):
        run("toy")
    assert not (root / "runs").exists()


def test_a_notebook_that_the_profile_does_not_list_runs_when_asked_for(enter, capsys) -> None:
    root = enter("01")
    toys.notebook(root, "01_data")
    toys.notebook(root, "06_more")
    run("toy")
    assert "06_more" not in capsys.readouterr().out
    run("toy", only=["06"])
    shown = capsys.readouterr().out
    assert "06_more" in shown and "01_data" not in shown
    run("toy", only=["6", "1"])
    shown = capsys.readouterr().out
    assert shown.count("skipped") == 2 and shown.index("01_data") < shown.index("06_more")


def test_what_cannot_be_asked_for(enter) -> None:
    root = enter("01")
    toys.notebook(root, "01_data")
    with pytest.raises(NotebookError, match="0 notebooks 09_.*: 01"):
        run("toy", only=["09"])
    with pytest.raises(ConfigError, match="'sead'"):
        run("toy", ["sead=1"])
    toys.notebook(root, "01_twin")
    with pytest.raises(NotebookError, match="2 notebooks 01_"):
        run("toy")
    with pytest.raises(ConfigError, match="No closing quotation"):
        open_notebook("toy", "title='x")


def test_a_second_run_in_the_same_folder_is_refused(enter) -> None:
    root = enter("01")
    toys.notebook(root, "01_data")
    (root / "runs/toy").mkdir(parents=True)
    with open(root / "runs/toy/.run.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(NotebookError, match="runs/toy"):
            run("toy")


def test_a_notebook_finds_its_profile_from_anywhere_and_says_who_it_is(enter, monkeypatch, tmp_path, capfd) -> None:
    root = enter("01")
    toys.notebook(root, "01_data", "run.write_json('metrics/a.json', profile.title)")
    (tmp_path / "own.yaml").write_text('name: toy\ntitle: Own\nnotebooks: ["01"]\n')
    monkeypatch.chdir(root / "notebooks")
    assert run("../../own.yaml") == 0
    assert RunFolder(root / "runs/toy").read_json("metrics/a.json") == "Own"
    monkeypatch.setenv("AASIST_NOTEBOOK", "")  # restored afterwards
    monkeypatch.delenv("AASIST_NOTEBOOK")
    _, folder = open_notebook("toy", "title=Again", "05")
    folder.write_text("metrics/mine.txt", "")
    assert folder.manifest["artefacts"]["metrics/mine.txt"]["notebook"] == "05"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_leaves_no_process_and_no_half_artefact(enter, number: signal.Signals, code: int) -> None:
    root = enter("01", "03")
    toys.notebook(root, "01_data", "run.write_json('metrics/a.json', 1)")
    toys.notebook(root, "03_train", INTERRUPTED)
    command = [sys.executable, "-m", "aasist_lib", "run", "toy"]
    runner = subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not (root / "pids").exists():
        assert runner.poll() is None and time.monotonic() < deadline, runner.communicate()
        time.sleep(0.05)
    kernel, worker = map(int, (root / "pids").read_text().split())
    runner.send_signal(number)
    out, err = runner.communicate(timeout=30)
    assert runner.returncode == code
    assert err.endswith(f"{ADVICE}\n") and "Traceback" not in err
    assert statuses(out) == {"01_data": "ok"}
    assert not runs_still(kernel) and not runs_still(worker)
    assert not (root / "runs/toy/metrics/half.json").exists()
    notebooks = RunFolder(root / "runs/toy").manifest["notebooks"]
    assert [record["status"] for record in notebooks.values()] == ["ok", "running"]
    assert report.build(RunFolder(root / "runs/toy")).is_file()  # a report of the finished part can be built


def test_a_notebook_depends_on_the_project_s_files_that_it_reads(enter):
    root = enter("01")
    toys.notebook(root, "01_data", "x = 1")
    file = next((root / "notebooks").glob("01_*.ipynb"))
    notebook = nbformat.read(file, as_version=4)
    notebook.metadata.aasist.reads = ["detectors/demo/model.safetensors"]
    nbformat.write(notebook, file)
    profile, model = load_profile("toy"), root / "detectors" / "demo" / "model.safetensors"
    keys = [runner._Notebook(root, "01").key(profile, {})]
    model.parent.mkdir(parents=True)
    for content in (b"one", b"two"):
        model.write_bytes(content)
        keys.append(runner._Notebook(root, "01").key(profile, {}))
    assert len(set(keys)) == 3


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem)
def test_notebooks_that_use_the_project_s_detector_say_so(path):
    notebook = nbformat.read(path, as_version=4)
    uses = any("find_detector(" in cell.source or "find_scores(" in cell.source for cell in notebook.cells)
    reads = notebook.metadata.aasist.get("reads", [])
    assert ("detectors/demo/model.safetensors" in reads) == uses and all((ROOT / name).is_file() for name in reads)


def test_a_notebook_depends_on_what_the_profile_runs_before_it_whatever_its_number():
    root = project_root()
    profile = load_profile("tiny")

    def key(number: str, maker: str, digest: str) -> str:
        return runner._Notebook(root, number).key(profile, {"metrics/x.json": {"notebook": maker, "sha256": digest}})

    assert profile.notebooks.index("03") < profile.notebooks.index("02")
    assert key("02", "03", "a") != key("02", "03", "b")
    assert key("03", "02", "a") == key("03", "02", "b")
