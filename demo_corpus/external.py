"""Client of `gpl_worker.py`: one helper program per process, started at the first request and ended with the process."""

from __future__ import annotations

import atexit
import json
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import numpy as np
import soxr

from aasist_lib.audio import RATE
from aasist_lib.errors import AasistError

_PROGRAM = Path(__file__).with_name("gpl_worker.py")
_running: subprocess.Popen[bytes] | None = None


class ExternalToolError(AasistError, RuntimeError):
    """A separate synthesiser program failed; the message contains its error."""


def call(tool: str, wave: np.ndarray | None = None, **parameters: Any) -> np.ndarray:
    """Make audio with the separate program.

    Args:
        tool: 'psola', 'espeak' or 'piper'.
        wave: `(samples,)` at 16 kHz, for tools that change a recording.
        parameters: parameters of the tool, as JSON values.

    Returns:
        `(samples,)` float32 at 16 kHz.

    Raises:
        ExternalToolError: the tool is not installed or rejected the request, or the program was killed.
    """
    payload = np.ascontiguousarray(wave if wave is not None else [], dtype=np.float32)
    request = json.dumps({"tool": tool, "samples": len(payload), **parameters}).encode()
    to, back = _pipes(_program())
    try:
        to.write(request + b"\n" + payload.tobytes())
        to.flush()
        reply, coded = _answer(back)
    except (BrokenPipeError, EOFError) as error:
        close()
        raise ExternalToolError(f"{tool}: the program ended without a complete reply") from error
    if "error" in reply:
        raise ExternalToolError(f"{tool}: {reply['error']}; the GPL tools are installed by the extra 'demo'")
    audio = np.frombuffer(coded, dtype=np.float32)
    return audio if reply["rate"] == RATE else soxr.resample(audio, reply["rate"], RATE)


def _answer(back: IO[bytes]) -> tuple[dict[str, Any], bytes]:
    """Return a reply and its samples; EOFError if the program ended before the last sample."""
    line = back.readline()
    if not line.endswith(b"\n"):
        raise EOFError
    reply = json.loads(line)
    size = 4 * reply.get("samples", 0)
    coded = back.read(size)
    if len(coded) < size:
        raise EOFError
    return reply, coded


def close() -> None:
    """End the helper program of this process, if it is running."""
    global _running
    if _running is not None:
        for pipe in _pipes(_running):
            with suppress(BrokenPipeError):  # a buffered request that the program no longer reads
                pipe.close()
        _running.wait(timeout=30)
        _running = None


def _pipes(program: subprocess.Popen[bytes]) -> tuple[IO[bytes], IO[bytes]]:
    if program.stdin is None or program.stdout is None:
        raise ExternalToolError("the helper program has no pipes")
    return program.stdin, program.stdout


def _program() -> subprocess.Popen[bytes]:
    global _running
    if _running is None or _running.poll() is not None:
        _running = subprocess.Popen(
            [sys.executable, str(_PROGRAM)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
        )
        atexit.register(close)
    return _running
