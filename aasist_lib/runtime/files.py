"""Files that are whole or not there, whatever happens to the process that writes them, and locks that go with their process."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from aasist_lib.errors import AasistError

TEMPORARY = ".tmp-"
"""Begins the names of files that are being written; twelve hexadecimal digits and the suffix follow."""
_OURS = re.compile(re.escape(TEMPORARY) + r"[0-9a-f]{12}(\.[^.]*)?")
_ADVICE = {
    errno.ENOSPC: "free some space there",
    errno.EDQUOT: "free some space there, or have the quota raised",
    errno.EFBIG: "have the limit on the size of files raised (ulimit -f)",
    errno.EACCES: "give this user the right to it, or choose another place",
    errno.EPERM: "give this user the right to it, or choose another place",
    errno.EROFS: "have it mounted for writing, or choose another place",
    errno.ENOENT: "its folder is not there, or not any more: bring it back, or choose another place",
    errno.ENOTDIR: "a file is in the place of its folder: move it away, or choose another place",
    errno.EEXIST: "a file is in the place of its folder: move it away, or choose another place",
    errno.ESTALE: "the network drive lost it: mount it again",
    errno.EIO: "the disk or the network drive fails: look at the system's log",
}


class WriteError(AasistError, OSError):
    """A file that cannot be written; the message says which, why, and what to do."""


def explain(error: OSError, path: str | Path | None = None) -> str:
    """What the operating system refused, in one line: the file, its reason, and what to do."""
    number = error.errno or (errno.ENOENT if isinstance(error, FileNotFoundError) else 0)  # libraries leave the number out
    name, advice = path or error.filename, _ADVICE.get(number, "see whether its disk is full or fails")
    return f"{name}: {str(error.strerror or error).rstrip('.')}; {advice}; the same command then goes on from what is finished"


class RunError(AasistError, ValueError):
    """A run folder that cannot be used, or an artefact that does not keep the contract; the message says what to do."""


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """A temporary path beside `path`, with the same suffix, renamed onto it when the block ends without an error.

    >>> with atomic("scores/dev.npz") as file:
    ...     np.savez(file, scores=scores)

    A reader sees the old file or the new one, never a part. The parent folder is made when it is missing. The temporary file is
    there, empty and locked, when the block begins: by the lock, `sweep` tells it from one that a killed process left.

    Raises:
        WriteError: the operating system refused to write; nothing is left of the new file, and the old one is as it was.
    """
    path = Path(path)
    temporary = path.with_name(f"{TEMPORARY}{uuid.uuid4().hex[:12]}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "xb") as mark:
            fcntl.flock(mark, fcntl.LOCK_EX)
            try:
                yield temporary
                os.replace(temporary, path)
            finally:
                with suppress(OSError):  # of a disk that is gone: what ended the block says so
                    temporary.unlink(missing_ok=True)
    except Exception as error:
        refused = _refusal(error, path, temporary)
        if refused is None:
            raise
        raise WriteError(explain(refused, path)) from error


def _refusal(error: BaseException | None, path: Path, temporary: Path) -> OSError | None:
    """The operating system's refusal to write this file behind an error: libraries raise others while they handle it."""
    if isinstance(error, AasistError):  # says itself what is the matter
        return None
    while error is not None:
        if isinstance(error, OSError) and (error.filename is None or Path(error.filename) in (path, temporary, *path.parents)):
            return error
        error = error.__cause__ or error.__context__
    return None


def table_stem(path: Path) -> str:
    """A table's name without its endings: 'aasist.lr1e-4' of 'aasist.lr1e-4.txt.gz'."""
    name = path.name
    for ending in (".gz", ".txt", ".csv", ".tsv", ".parquet", ".score", ".scores"):
        if name.lower().endswith(ending) and len(name) > len(ending):
            name = name[: -len(ending)]
    return name


def sweep(folder: Path, deep: bool = True) -> list[Path]:
    """Remove the temporary files that killed processes left in a folder, and below it if `deep`; return their paths.

    What is being written stays, and what another user left: in a shared folder that is theirs to remove. So does any file
    whose name is not one that `atomic` gives.
    """
    found = folder.rglob(f"{TEMPORARY}*") if deep else folder.glob(f"{TEMPORARY}*")
    return [path for path in found if _OURS.fullmatch(path.name) and path.is_file() and _remove_unlocked(path)]


def _remove_unlocked(path: Path) -> bool:
    with suppress(FileNotFoundError, BlockingIOError, PermissionError), open(path, "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink()
        return True
    return False


@contextmanager
def alone(lock: Path, busy: Exception, patience: float = 10.0) -> Iterator[None]:
    """Inside the `with`, no other process is inside one with the same lock file.

    The lock is released when its process ends, however it ends; worker processes that it forked hold it until they notice, a
    few seconds later.

    Args:
        lock: created, and removed at the end; one that a killed process left is not in the way.
        busy: the error to raise when another process is inside.
        patience: seconds to wait for it first.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    held = FileLock(lock)
    try:
        held.acquire(timeout=patience)
    except Timeout:
        raise busy from None
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)
        held.release()


@contextmanager
def in_turn(lock: Path, notice: str = "") -> Iterator[None]:
    """As `alone`, but wait for the others, however long they take; `notice` is printed if there are any."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    held = FileLock(lock)
    try:
        held.acquire(blocking=False)
    except Timeout:
        if notice:
            print(notice, flush=True)
        held.acquire()
    try:
        yield
    finally:
        held.release()


# ---- content ---------------------------------------------------------------------------------------------------------


def sha256(path: str | Path) -> str:
    """The hexadecimal SHA-256 of a file's bytes."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def to_json(value: Any) -> str:
    """Indented JSON with a final newline; numpy scalars, arrays and paths become plain values.

    Raises:
        RunError: a number is NaN or infinite, which JSON cannot hold.
    """
    try:
        return json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False, default=_plain) + "\n"
    except ValueError as error:
        raise RunError(f"cannot be written as JSON: {error}; write None where a value is missing") from error


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"a {type(value).__name__} cannot be written as JSON")
