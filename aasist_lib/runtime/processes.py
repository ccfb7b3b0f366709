"""Several processes: a pool of jobs that ends with its parent, and the processes that a launcher started together."""

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
"""How long launched processes wait for the slowest of them: their shares of the work are not equally long."""


class WorkError(AasistError, ValueError):
    """A job failed and the others were stopped; the message says which, and why."""


def side_by_side(
    work: Callable[[Job], Any], jobs: Sequence[Job], workers: int, name: Callable[[Job], str] = str
) -> Iterator[Job]:
    """Run `work(job)` for every job, `workers` at a time, and yield each job when it is done.

    Processes are spawned, not forked, so `work` must be a module-level function. Its output appears on this process's stdout,
    without progress bars. Several workers have one thread each, and a GPU each if there are enough.

    Args:
        name: how messages name a job.

    Raises:
        WorkError: the first job that failed, or whose process died. The others are stopped; they are also stopped when the
            caller is interrupted or stops iterating.
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
        raise WorkError("a worker process died, perhaps out of memory: use fewer workers") from error
    if error is not None:
        raise WorkError(f"{name}: {type(error).__name__}: {error}") from error


def launched() -> PartialState:
    """The processes that `accelerate launch` or `torchrun` started together: `process_index`, `num_processes`,
    `is_main_process`, `device`, `wait_for_everyone()`. A process started alone is a world of one.

    Raises:
        WorkError: processes were launched together but cannot reach one another on this device.
    """
    import torch
    from accelerate import PartialState
    from accelerate.utils import parse_flag_from_env

    # Unless told, accelerate treats processes on a machine without a GPU as unrelated.
    cpu = parse_flag_from_env("ACCELERATE_USE_CPU") or not torch.accelerator.is_available()
    world = PartialState(cpu=cpu, timeout=timedelta(hours=GROUP_HOURS))
    atexit.unregister(_part)
    atexit.register(_part)
    if world.num_processes != (started := int(os.environ.get("WORLD_SIZE", "1"))):
        raise WorkError(
            f"{started} processes were launched, but they cannot reach one another on {world.device.type}: "
            "set ACCELERATE_USE_CPU=true for the CPU, or start one process"
        )
    return world


def _part() -> None:
    """Leave the process group at exit: gloo's threads would sometimes abort the process otherwise."""
    import torch

    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


@contextmanager
def agreed() -> Iterator[None]:
    """A step that every launched process takes: after it, all of them have succeeded.

    If it fails on any process with an error of the library, the main process raises the error and the others exit with code 0:
    the error is reported once, and the launcher does not stop the main process before that.

    Raises:
        WorkError: the step failed on another process (the message says on which, and why), or another process has ended.
        SystemExit: either of these, on any process but the main one.
    """

    world = launched()
    error: Exception | None = None
    try:
        yield
    except Exception as raised:
        if not of_library(raised):  # a defect: raised at once, with its traceback; the launcher stops the others
            raise
        error = raised
    texts = _gathered(None if error is None else str(error), world)
    failed = [process for process, text in enumerate(texts) if text is not None]
    if failed and not world.is_main_process:
        raise SystemExit(0)
    if error:
        raise error
    if failed:
        raise WorkError(f"process {failed[0]}: {texts[failed[0]]}")


def _gathered(text: str | None, world: PartialState) -> list[str | None]:
    """The text of every process."""
    from accelerate.utils import gather_object

    try:
        return gather_object([text])
    except RuntimeError as lost:  # from gloo; with NCCL the launcher ends the waiting processes
        if not world.is_main_process:
            raise SystemExit(1) from lost
        message = "another process has ended, perhaps out of memory; rerun the same command to resume"
        raise WorkError(message) from lost


@contextmanager
def launched_alone(lock: Path, busy: Exception) -> Iterator[None]:
    """`files.alone` for launched processes: the main process holds the lock; all of them raise `busy` if it is taken."""
    with ExitStack() as held:
        with agreed():
            if launched().is_main_process:
                held.enter_context(alone(lock, busy))
        yield


def of_library(error: Exception) -> bool:
    """Whether the error's message is enough without a traceback: an error of the library, or of the operating system about a
    file."""
    about_a_file = isinstance(error, OSError) and error.filename is not None
    return about_a_file or isinstance(error, AasistError)


@contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """Inside the `with`, child processes inherit these environment variables; afterwards they are restored."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def end_with_parent() -> None:
    """Called in a `multiprocessing` worker: end it when its parent ends, even if the parent is killed."""
    parent = multiprocessing.parent_process()
    if parent is None:  # this is the first process
        return

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _begin(counter: Any) -> None:
    """Called in a new worker: end with the parent, and choose a GPU."""
    import torch

    end_with_parent()
    with counter.get_lock():
        number, counter.value = counter.value, counter.value + 1
    if torch.cuda.is_available():
        torch.cuda.set_device(number % torch.cuda.device_count())
