"""Set-up: one list of versions everywhere, the torchaudio repair, and a second call that does nothing."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import time
import tomllib
from importlib import metadata
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
CUDA = "OSError: libc10_cuda.so: cannot open shared object file: No such file or directory"


def load(name: str) -> ModuleType:
    """A script of tools/ as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


setup_environment, repair_torchaudio = load("setup_environment"), load("repair_torchaudio")


def pins() -> dict[str, str]:
    """Version by name in requirements.txt, where every line is an exact pin."""
    lines = [line.strip() for line in (ROOT / "requirements.txt").read_text().splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    found = [re.fullmatch(r"([A-Za-z0-9._-]+)==([^\s;+]+)", line) for line in lines]
    assert all(found), "requirements.txt holds something other than name==version"
    return {canonicalize_name(pin[1]): pin[2] for pin in found}


# ---- one list of versions --------------------------------------------------------------------------------------------


def test_every_dependency_is_pinned_at_a_version_it_accepts() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    assert set(extras) == {"demo", "dev"}
    for text in [*project["dependencies"], *extras["demo"], *extras["dev"]]:
        wanted = Requirement(text)
        assert wanted.specifier.contains(pins()[canonicalize_name(wanted.name)]), text


def test_where_processes_share_the_tests_those_of_a_file_stay_together(request: pytest.FixtureRequest) -> None:
    """What is made once for a module is made once; pytest-xdist 3.8 groups nothing under pytest 9.2, and says nothing."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        pytest.skip("one process runs all tests")
    assert request.node.nodeid.endswith("@tests/test_setup.py")


def test_no_pin_is_left_over_or_missing() -> None:
    """From the direct dependencies one reaches every pin, and nothing that is not pinned."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    texts = project["dependencies"] + sum(project["optional-dependencies"].values(), [])
    todo, reached = [Requirement(text) for text in texts], set()
    while todo:
        wanted = todo.pop()
        name = canonicalize_name(wanted.name)
        if name.startswith(("nvidia-", "triton", "cuda-")):  # the GPU build of torch pins its own
            continue
        if name == "pip":  # comes with every environment, and installs this list
            continue
        environments = [{"extra": extra} for extra in wanted.extras or {""}]
        if (name, *sorted(wanted.extras)) in reached:
            continue
        reached.add((name, *sorted(wanted.extras)))
        for text in metadata.distribution(name).requires or ():
            needed = Requirement(text)
            if needed.marker is None or any(needed.marker.evaluate(environment) for environment in environments):
                todo.append(needed)
    names = {name for name, *_ in reached}
    assert names - set(pins()) == set(), "not pinned"
    assert set(pins()) - names == set(), "pinned but needed by nothing"


def test_the_environment_that_runs_this_has_the_pinned_versions() -> None:
    installed = {name: metadata.version(name).partition("+")[0] for name in pins()}
    assert installed == pins()


def test_conda_users_get_the_same_versions() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    conda = [item for item in environment["dependencies"] if isinstance(item, str)]
    (pip,) = (item["pip"] for item in environment["dependencies"] if isinstance(item, dict))
    assert pip == ["-r requirements.txt", "-e .[demo,dev]"]
    versioned = [item for item in conda if re.search(r"[=<>]", item)]
    assert versioned == ["python=3.11"], "a version beside requirements.txt could differ from it"


def test_the_citation_names_the_three_works() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["license"] == "MIT" and "MIT License" in (ROOT / "LICENSE").read_text()
    works = {work["title"].partition(":")[0]: work for work in citation["references"]}
    assert set(works) == {"Towards Scalable AASIST", "AASIST", "wav2vec 2.0"}
    assert works["Towards Scalable AASIST"]["url"].endswith("2507.11777")
    assert [works[name]["year"] for name in works] == [2025, 2022, 2020]


# ---- torchaudio ------------------------------------------------------------------------------------------------------


def libraries(folder: Path, *names: str) -> Path:
    """A torchaudio/lib folder with these files."""
    folder.mkdir()
    for name in ("__init__.py", *names):
        (folder / name).touch()
    return folder


def names(folder: Path) -> set[str]:
    """What lies in the folder, without the package file."""
    return {file.name for file in folder.iterdir()} - {"__init__.py"}


def answers(*texts: str):
    """What successive imports say."""
    return iter(texts).__next__


def test_cuda_libraries_are_put_aside_next_to_a_cpu_torch(tmp_path: Path) -> None:
    lib = libraries(tmp_path / "lib", "_torchaudio.abi3.so", "libtorchaudio.abi3.so")
    said = repair_torchaudio.repair(lib, cuda=False, error=answers(CUDA, ""))
    assert "CPU build" in said and "_torchaudio.abi3.so" in said
    assert names(lib) == {"_torchaudio.abi3.so.cuda", "libtorchaudio.abi3.so.cuda"}
    assert "nothing to repair" in repair_torchaudio.repair(lib, cuda=False, error=answers(""))
    (lib / "_torchaudio.abi3.so").touch()  # installed anew
    repair_torchaudio.repair(lib, cuda=False, error=answers(CUDA, ""))
    assert names(lib) == {"_torchaudio.abi3.so.cuda", "libtorchaudio.abi3.so.cuda"}


def test_a_working_torchaudio_is_left_alone(tmp_path: Path) -> None:
    lib = libraries(tmp_path / "lib", "_torchaudio.abi3.so")
    assert "nothing to repair" in repair_torchaudio.repair(lib, cuda=True, error=answers(""))
    assert names(lib) == {"_torchaudio.abi3.so"}


def test_another_reason_is_not_repaired(tmp_path: Path) -> None:
    lib = libraries(tmp_path / "lib", "_torchaudio.abi3.so")
    with pytest.raises(repair_torchaudio.RepairError, match="'torch'"):
        repair_torchaudio.repair(lib, cuda=False, error=answers("ModuleNotFoundError: No module named 'torch'"))
    assert names(lib) == {"_torchaudio.abi3.so"}
    with pytest.raises(repair_torchaudio.RepairError, match="worse"):
        repair_torchaudio.repair(lib, cuda=False, error=answers(CUDA, "worse"))


def test_libraries_return_with_a_gpu_torch_if_they_work_there(tmp_path: Path) -> None:
    lib = libraries(tmp_path / "lib", "_torchaudio.abi3.so.cuda")
    other = "RuntimeError: Detected that PyTorch and TorchAudio were compiled with different CUDA versions."
    assert "GPU build for another CUDA" in repair_torchaudio.repair(lib, cuda=True, error=answers(other, other, ""))
    assert names(lib) == {"_torchaudio.abi3.so.cuda"}
    assert "1 torchaudio libraries" in repair_torchaudio.repair(lib, cuda=True, error=answers(""))
    assert names(lib) == {"_torchaudio.abi3.so"}


# ---- set-up ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone's inputs of set-up, with an environment that is set up."""
    for name in setup_environment.INPUTS:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    python = setup_environment.python_of(tmp_path / ".venv")
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    stamp = f'{{"fingerprint": "{setup_environment.fingerprint(tmp_path)}"}}'
    (tmp_path / ".venv" / setup_environment.STAMP).write_text(stamp)
    return tmp_path


def test_a_second_call_does_nothing(clone: Path, monkeypatch, capsys) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a program was started")

    monkeypatch.setattr(subprocess, "run", refuse)
    monkeypatch.setattr(subprocess, "Popen", refuse)
    start = time.monotonic()
    setup_environment.set_up(clone, clone / ".venv")
    assert capsys.readouterr().out == "" and time.monotonic() - start < 1


@pytest.mark.parametrize("change", ["requirements.txt", "pyproject.toml", "stamp", "python"])
def test_a_changed_input_is_noticed(clone: Path, change: str) -> None:
    venv = clone / ".venv"
    assert setup_environment.is_current(clone, venv)
    if change == "python":
        setup_environment.python_of(venv).unlink()
    else:
        file = venv / setup_environment.STAMP if change == "stamp" else clone / change
        file.write_text("{")
    assert not setup_environment.is_current(clone, venv)


def test_an_old_python_or_no_compiler_is_said(monkeypatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(sys, "version_info", (3, 9, 2))
        with pytest.raises(setup_environment.SetupError, match=r"3\.9 .*3\.11"):
            setup_environment.check_machine()
    monkeypatch.setenv("PATH", "")
    with pytest.raises(setup_environment.SetupError, match="apt-get install build-essential"):
        setup_environment.check_machine()


def test_a_python_without_ensurepip_is_told_what_to_install(monkeypatch, tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nexit 1\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    with pytest.raises(setup_environment.SetupError, match=r"apt-get install python3\.\d+-venv"):
        setup_environment.check_machine()


@pytest.mark.parametrize(
    ("line", "megabytes"),
    [
        ("  Downloading pyarrow-26.0.1-cp311.whl (55.5 MB)\n", 55.5),
        ("Downloading https://example.org/x.whl (512 kB)\n", 0.512),
        ("Downloading torch-2.13.0.whl (1.5 GB)\n", 1500),
        ("     Downloading x.whl (1.0/4.0 MB)\n", 4),
        ("Collecting numpy==2.4.6\n", 0),
    ],
)
def test_pip_s_lines_are_counted(line: str, megabytes: float) -> None:
    assert setup_environment.downloaded(line) == pytest.approx(megabytes)


def test_a_failing_pip_is_shown(clone: Path) -> None:
    python = setup_environment.python_of(clone / ".venv")
    python.unlink()
    python.write_text("#!/bin/sh\necho 'ERROR: no matching distribution'; exit 1\n")
    python.chmod(0o755)
    with pytest.raises(setup_environment.SetupError, match="no matching distribution"):
        setup_environment.install(clone, clone / ".venv")


@pytest.mark.parametrize("target", ["demo", "test", "lab", "check", "coverage", "report"])
def test_each_target_sets_up_first(target: str) -> None:
    environment = os.environ | {"MAKEFLAGS": ""}  # these tests may run under make themselves
    command = ["make", "--no-print-directory", "--dry-run", target, "PROFILE=tiny", "SET=seed=2"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment, check=True)
    first, last = done.stdout.splitlines()[0], done.stdout.splitlines()[-1]
    assert first == "python3 tools/setup_environment.py"
    assert re.match(r"([A-Z_]+=\S+ )?\.venv/bin/python -m ", last)
    if target in ("demo", "report"):
        assert last.endswith("tiny --set seed=2")
