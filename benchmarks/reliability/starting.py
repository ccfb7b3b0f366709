"""Run a command of the library in a new process: as typed, or forked from a process that has the libraries loaded."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from aasist_lib.runtime.processes import environment as settings

ROOT = Path(__file__).resolve().parents[2]
_LOADED = [
    "pandas", "pyarrow.parquet", "accelerate", "transformers.models.wav2vec2.modeling_wav2vec2", "aasist_lib.__main__",
    "aasist_lib.training", "aasist_lib.scoring", "aasist_lib.scoring.recordings", "aasist_lib.workbook", "demo_corpus",
    "papermill", "benchmarks.reliability.starting",
]  # fmt: skip


class Started:
    """A running command. Its output is written to files next to `log`.

    Args:
        arguments: the arguments after `python -m aasist_lib`.
        log: path of the output files without suffix.
        typed: True starts a new interpreter, which loads the libraries for some seconds. False forks a process that has
            loaded them, and makes the same calls from there.
        environment: additional environment variables.
    """

    def __init__(self, arguments: Sequence[str], log: Path, typed: bool, environment: Mapping[str, str] | None = None) -> None:
        self.out, self.err = log.with_suffix(".out"), log.with_suffix(".err")
        more = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **(environment or {})}
        self._forked, self._typed = None, None
        if typed:
            with self.out.open("wb") as out, self.err.open("wb") as err:
                command = [sys.executable, "-m", "aasist_lib", *arguments]
                self._typed = subprocess.Popen(command, cwd=ROOT, env=os.environ | more, stdout=out, stderr=err)
        else:
            context = multiprocessing.get_context("forkserver")
            context.set_forkserver_preload(_LOADED)
            told = (list(arguments), str(self.out), str(self.err), more)
            self._forked = context.Process(target=_command, args=told)
            with settings(more):  # the first start also starts the server, whose libraries read the number of threads on import
                self._forked.start()
        self.pid: int = (self._typed or self._forked).pid

    def poll(self) -> int | None:
        """Return the exit code, negative after a signal, or None while the command runs."""
        return self._typed.poll() if self._typed else self._forked.exitcode

    def wait(self, timeout: float = 900) -> int:
        """Wait for the end of the command and return the exit code."""
        until = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > until:
                self.send_signal(signal.SIGKILL)
                raise TimeoutError(f"still running after {timeout:.0f} s: {self.said()}")
            time.sleep(0.005)
        return code

    def send_signal(self, number: int) -> None:
        """Send a signal to the command."""
        os.kill(self.pid, number)

    def listens(self) -> bool:
        """Return whether the process handles SIGTERM, which it does once the command has started."""
        try:
            status = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii", errors="replace")
        except (FileNotFoundError, ProcessLookupError):  # it has ended
            return False
        caught = next((int(line.split()[1], 16) for line in status.splitlines() if line.startswith("SigCgt:")), 0)
        return bool(caught >> (signal.SIGTERM - 1) & 1)

    def said(self) -> str:
        """Return the end of the output."""
        texts = (file.read_text(errors="replace") if file.exists() else "" for file in (self.out, self.err))
        return "\n".join(text[-3000:] for text in texts)


def _command(arguments: list[str], out: str, err: str, environment: dict[str, str]) -> None:
    """Run `python -m aasist_lib` in the forked process."""
    for number, name in ((1, out), (2, err)):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    os.chdir(ROOT)
    os.environ.update(environment)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    multiprocessing.set_start_method("fork", force=True)  # as in a separately started process
    from aasist_lib.__main__ import main

    sys.argv = ["python -m aasist_lib", *arguments]
    sys.exit(main(arguments))
