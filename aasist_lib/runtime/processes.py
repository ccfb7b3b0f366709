"""Work in many processes: long pieces side by side, of which none outlives the one that asked for them, and processes that
were launched together to share one piece."""

from __future__ import annotations

import atexit
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from aasist_lib.errors import AasistError
from aasist_lib.runtime.files import alone

if TYPE_CHECKING:
    from accelerate import PartialState

Job = TypeVar("Job")


GROUP_HOURS = 6
"""How long processes that were launched together wait for the slowest of them: shares of work are not equally long."""


class WorkError(AasistError, ValueError):
    """A piece of work failed and the others were stopped; the message says which, and why."""


def side_by_side(
    work: Callable[[Job], Any], jobs: Sequence[Job], workers: int, name: Callable[[Job], str] = str
) -> Iterator[Job]:
    """Do `work(job)` for every job, `workers` at a time, and yield each job when it is done.

    Processes are started anew, not forked, so `work` must be a function of a module; what it prints appears on this process's
    stdout, without progress bars. Several workers have one thread each, and each a GPU of its own where there are enough.

    Args:
        name: what messages call a job.

    Raises:
        WorkError: the first piece of work that failed, or whose process died. The others are stopped, and so they are when the
            caller is interrupted or asks no further.
    """
    if not jobs:
        return
    context = multiprocessing.get_context("spawn")
    before = set(multiprocessing.active_children())
    with environment({"TQDM_DISABLE": "1"} | ({"OMP_NUM_THREADS": "1"} if workers > 1 else {})):
        pool = ProcessPoolExecutor(min(workers, len(jobs)), context, _begin, (context.Value("i", 0),))
        futures = {pool.submit(work, job): job for job in jobs}
        try:
            for future in as_completed(futures):
                _raise(future.exception(), name(futures[future]))
                yield futures[future]
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in set(multiprocessing.active_children()) - before:
                process.terminate()
                process.join()


def _raise(error: BaseException | None, name: str) -> None:
    if isinstance(error, BrokenProcessPool):
        raise WorkError("a process ended without a word, perhaps for want of memory: let fewer work side by side") from error
    if error is not None:
        raise WorkError(f"{name}: {type(error).__name__}: {error}") from error


def team() -> PartialState:
    """The processes that `accelerate launch` or `torchrun` started together: `process_index`, `num_processes`,
    `is_main_process`, `device`, `wait_for_everyone()`. A process alone is a team of one.

    Raises:
        WorkError: processes were started together that cannot talk to one another on this device.
    """
    import torch
    from accelerate import PartialState
    from accelerate.utils import parse_flag_from_env

    # Without being told, accelerate takes processes on a machine without a GPU for so many teams of one.
    cpu = parse_flag_from_env("ACCELERATE_USE_CPU") or not torch.accelerator.is_available()
    members = PartialState(cpu=cpu, timeout=timedelta(hours=GROUP_HOURS))
    atexit.unregister(_part)
    atexit.register(_part)
    if members.num_processes != (started := int(os.environ.get("WORLD_SIZE", "1"))):
        raise WorkError(
            f"{started} processes were started, but on {members.device.type} they do not find one another: "
            "set ACCELERATE_USE_CPU=true for the CPU, or start one"
        )
    return members


def _part() -> None:
    """Leave the team as the process ends: gloo's threads, where they still run then, abort it now and then."""
    import torch

    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


@contextmanager
def agreed() -> Iterator[None]:
    """A step that every process of the team takes: behind it, all have come through it.

    Where it fails with an error of the library on any process, the main process has the error and the others end with exit
    code 0, so that it is told once, and the launcher does not stop the main process before it told.

    Raises:
        WorkError: the step failed on another process, the message says on which, and why; or one has ended.
        SystemExit: either of these, where this is not the main process.
    """

    members = team()
    error: Exception | None = None
    try:
        yield
    except Exception as raised:
        if not of_library(raised):  # a defect: at once and with its traceback; the launcher stops the others
            raise
        error = raised
    texts = _gathered(None if error is None else str(error), members)
    failed = [process for process, text in enumerate(texts) if text is not None]
    if failed and not members.is_main_process:
        raise SystemExit(0)
    if error:
        raise error
    if failed:
        raise WorkError(f"process {failed[0]}: {texts[failed[0]]}")


def _gathered(text: str | None, members: PartialState) -> list[str | None]:
    """Every process' text."""
    from accelerate.utils import gather_object

    try:
        return gather_object([text])
    except RuntimeError as lost:  # of gloo; with NCCL it is the launcher that ends those who wait
        if not members.is_main_process:
            raise SystemExit(1) from lost
        message = "another process has ended, perhaps killed for want of memory; the same command goes on from what is finished"
        raise WorkError(message) from lost


@contextmanager
def team_alone(lock: Path, busy: Exception) -> Iterator[None]:
    """`files.alone` for a team: its main process has the lock, and every process has the error where it is not to be had."""
    with ExitStack() as held:
        with agreed():
            if team().is_main_process:
                held.enter_context(alone(lock, busy))
        yield


def of_library(error: Exception) -> bool:
    """Whether an error's message is all that its reader needs: one of the library's own, or of the operating system about a
    file."""
    about_a_file = isinstance(error, OSError) and error.filename is not None
    return about_a_file or isinstance(error, AasistError)


@contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """Inside the `with`, processes inherit these environment variables; behind it all is as before."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def end_with_parent() -> None:
    """In a process that `multiprocessing` started: end with the one that started it, also when that is killed."""
    parent = multiprocessing.parent_process()
    if parent is None:  # it is the first of all
        return

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _begin(counter: Any) -> None:
    """In a new process: end with the one that started it, and take a GPU."""
    import torch

    end_with_parent()
    with counter.get_lock():
        number, counter.value = counter.value, counter.value + 1
    if torch.cuda.is_available():
        torch.cuda.set_device(number % torch.cuda.device_count())
