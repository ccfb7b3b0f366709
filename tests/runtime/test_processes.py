"""Work in other processes: what comes back, what fails, and that nothing is left behind."""

import math
import os
import subprocess
import sys
import time

import psutil
import pytest

from aasist_lib.runtime.processes import WorkError, agreed, launched, side_by_side
from tests.conftest import ROOT


def environment(name):
    """Fails with what it found, which is how a test sees into another process."""
    raise KeyError(os.environ.get(name))


def test_every_job_is_yielded_when_it_is_done():
    assert sorted(side_by_side(math.sqrt, [4.0, 9.0, 16.0], 2)) == [4.0, 9.0, 16.0]
    assert list(side_by_side(math.sqrt, [], 2)) == []


def test_a_failure_names_the_job_and_stops_the_others():
    started = time.monotonic()
    with pytest.raises(WorkError, match="job -1.0: ValueError") as failed:
        list(side_by_side(_sleep_or_fail, [120.0, -1.0, 120.0], 2, lambda job: f"job {job}"))
    assert time.monotonic() - started < 60 and isinstance(failed.value.__cause__, ValueError)
    assert not [child for child in psutil.Process().children() if child.status() != psutil.STATUS_ZOMBIE and _works(child)]


def _sleep_or_fail(seconds):
    time.sleep(seconds) if seconds > 0 else math.sqrt(seconds)


def _works(child):
    return any("spawn_main" in part for part in child.cmdline())


def test_asking_no_further_stops_the_rest():
    work = side_by_side(time.sleep, [0.05, 300.0], 2)
    assert next(work) == 0.05
    work.close()
    assert not [child for child in psutil.Process().children() if _works(child)]


def test_a_process_that_dies_is_no_silent_success():
    with pytest.raises(WorkError, match="died"):
        list(side_by_side(os._exit, [3], 1))


@pytest.mark.parametrize(("workers", "name", "value"), [(2, "OMP_NUM_THREADS", "1"), (1, "TQDM_DISABLE", "1")])
def test_several_workers_have_one_thread_each_and_no_bars(monkeypatch, workers, name, value):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    with pytest.raises(WorkError, match=f"KeyError: '{value}'"):
        list(side_by_side(environment, [name], workers))
    assert os.environ["OMP_NUM_THREADS"] == "7" and "TQDM_DISABLE" not in os.environ


def test_no_process_outlives_the_one_that_asked(tmp_path):
    script = tmp_path / "asks.py"
    script.write_text(
        "import time\nfrom aasist_lib.runtime.processes import side_by_side\n"
        "if __name__ == '__main__':\n    list(side_by_side(time.sleep, [0.1, 300, 300], 2, str))\n",
        encoding="utf-8",
    )
    asking = psutil.Popen([sys.executable, str(script)], stdout=subprocess.DEVNULL)
    workers = _wait_for(lambda: [child for child in asking.children() if _works(child)], 2)
    time.sleep(0.5)
    asking.kill()
    asking.wait()
    gone, alive = psutil.wait_procs(workers, timeout=60)
    assert len(gone) == 2 and not alive


def _wait_for(found, count):
    for _ in range(600):
        if len(found()) >= count and all(child.num_threads() > 1 for child in found()):
            return found()
        time.sleep(0.1)
    raise AssertionError(f"{len(found())} of {count} processes started in a minute")


STEPS = """
import sys
from aasist_lib.runtime.processes import WorkError, agreed, launched

def fails(on):
    with agreed():
        if launched().process_index in on:
            raise WorkError(f"no step {launched().process_index}")

print(f"{launched().process_index} of {launched().num_processes}\\n", end="", flush=True)
for on, told in ((), None), ((1,), "process 1: no step 1"), ((0, 1), "no step 0"):
    try:
        fails(on)
        assert not on
    except WorkError as error:
        assert launched().is_main_process and str(error) == told
    except SystemExit as end:
        assert not launched().is_main_process and on and end.code == 0
if launched().process_index == 1:
    sys.exit(3)
try:
    fails(())
except WorkError as error:
    print(error, flush=True)
"""


def test_a_step_of_two_processes_fails_on_both_and_the_main_one_tells(tmp_path):
    (tmp_path / "steps.py").write_text(STEPS, encoding="utf-8")
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    settings = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [*launch, str(tmp_path / "steps.py")]
    done = subprocess.run(command, env=settings, capture_output=True, text=True, timeout=300)
    assert {"0 of 2", "1 of 2"} <= set(done.stdout.splitlines()), done.stderr
    assert "AssertionError" not in done.stderr and "exitcode  : 3 " in done.stderr


def test_a_step_of_one_process_is_taken_and_keeps_its_error():
    with agreed():
        taken = launched().num_processes
    assert taken == 1
    for error in (WorkError("of the library"), KeyError("a defect")):
        with pytest.raises(type(error)) as raised, agreed():
            raise error
        assert raised.value is error


def test_a_process_that_has_ended_is_told(monkeypatch):
    def lost(_):
        raise RuntimeError("Connection closed by peer")

    monkeypatch.setattr("accelerate.utils.gather_object", lost)
    with pytest.raises(WorkError, match="ended"), agreed():
        pass


def test_processes_that_do_not_find_one_another_are_an_error(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(WorkError, match="2 processes .*set ACCELERATE_USE_CPU=true"):
        launched()
