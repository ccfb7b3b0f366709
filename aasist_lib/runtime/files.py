"""Atomic file writes, and locks that are released when their process ends."""

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
"""Prefix of the names of files that are being written; twelve hexadecimal digits and the suffix follow."""
_OURS = re.compile(re.escape(TEMPORARY) + r"[0-9a-f]{12}(\.[^.]*)?")
_ADVICE = {
    errno.ENOSPC: "free some space there",
    errno.EDQUOT: "free some space there, or raise the quota",
    errno.EFBIG: "raise the limit on file sizes (ulimit -f)",
    errno.EACCES: "give this user write permission, or choose another place",
    errno.EPERM: "give this user write permission, or choose another place",
    errno.EROFS: "mount it for writing, or choose another place",
    errno.ENOENT: "its folder is missing: restore it, or choose another place",
    errno.ENOTDIR: "a file has the name of its folder: move the file away, or choose another place",
    errno.EEXIST: "a file has the name of its folder: move the file away, or choose another place",
    errno.ESTALE: "the network drive lost it: remount the drive",
    errno.EIO: "the disk or the network drive fails: check the system log",
}


class WriteError(AasistError, OSError):
    """A file cannot be written; the message says which, why, and how to fix it."""


def advise(error: OSError, path: str | Path | None = None) -> str:
    """One line about an error of the operating system: the file, the reason, and how to fix it."""
    number = error.errno or (errno.ENOENT if isinstance(error, FileNotFoundError) else 0)  # libraries leave the number out
    name, advice = path or error.filename, _ADVICE.get(number, "check whether its disk is full or failing")
    return f"{name}: {str(error.strerror or error).rstrip('.')}; {advice}; then rerun the same command to resume"


class RunError(AasistError, ValueError):
    """A run folder or one of its artefacts cannot be used; the message says how to fix it."""


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """A temporary path beside `path`, with the same suffix, that replaces `path` when the block ends without an error.

    >>> with atomic("scores/dev.npz") as file:
    ...     np.savez(file, scores=scores)

    A reader sees the old file or the new one, never a part of it. A missing parent folder is created. When the block begins the
    temporary file exists, empty and locked; the lock tells `sweep` that it is in use.

    Raises:
        WriteError: the operating system refused to write; no part of the new file is left, and the old file is unchanged.
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
                with suppress(OSError):  # a lost disk is reported by the error that ended the block
                    temporary.unlink(missing_ok=True)
    except Exception as error:
        refused = _refusal(error, path, temporary)
        if refused is None:
            raise
        raise WriteError(advise(refused, path)) from error


def _refusal(error: BaseException | None, path: Path, temporary: Path) -> OSError | None:
    """The operating system's error about this file that caused `error`: libraries wrap it in errors of their own."""
    if isinstance(error, AasistError):  # its message is complete
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

    Files that are being written stay, and so do files of other users and files whose names `atomic` does not give.
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
