"""Long pieces of work side by side, each in a process of its own, of which none outlives the one that asked for them."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any, TypeVar

Job = TypeVar("Job")


class WorkError(ValueError):
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


def _begin(counter: Any) -> None:
    """In a new process: end with the one that started it, also when that is killed, and take a GPU."""
    import torch

    parent = multiprocessing.parent_process()
    threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()
    with counter.get_lock():
        number, counter.value = counter.value, counter.value + 1
    if torch.cuda.is_available():
        torch.cuda.set_device(number % torch.cuda.device_count())
