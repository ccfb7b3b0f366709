"""The end of the pipe that asks: a small program stands in for the synthesisers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from demo_corpus import external
from demo_corpus.external import ExternalToolError, call, close

PROGRAM = """
import json, os, sys

source, sink = sys.stdin.buffer, sys.stdout.buffer
while line := source.readline():
    request = json.loads(line)
    coded = source.read(4 * request["samples"])
    if request["tool"] == "mute":
        sys.exit()
    if request["tool"] == "refuse":
        reply, coded = {"error": "I would rather not"}, b""
    elif request["tool"] == "ask":
        coded = json.dumps([request, os.getpid()]).encode()
        coded += b" " * (-len(coded) % 4)
        reply = {"samples": len(coded) // 4, "rate": 16000}
    else:
        reply = {"samples": len(coded) // 4 + request.get("missing", 0), "rate": request["rate"]}
    line = json.dumps(reply).encode() + b"\\n"
    sink.write(line[:4] if request["tool"] == "stammer" else line + coded)
    sink.flush()
    if request["tool"] in ("stammer", "break off"):
        sys.exit()
"""


@pytest.fixture(autouse=True)
def stand_in(tmp_path: Path, monkeypatch):
    """The program above instead of the real one; whichever runs is ended before and after."""
    close()
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    monkeypatch.setattr(external, "_PROGRAM", program)
    yield program
    close()


def asked(**parameters) -> tuple[dict, int]:
    """A request as it arrives at the program, and the program's process."""
    return json.loads(call("ask", **parameters).tobytes())


def test_a_request_arrives_with_its_parameters_and_one_program_serves_many():
    request, process = asked(text="Čau", rate=2)
    assert request == {"tool": "ask", "samples": 0, "text": "Čau", "rate": 2}
    request, again = asked(wave=np.zeros(7))
    assert request == {"tool": "ask", "samples": 7} and again == process != os.getpid()


def test_audio_goes_there_and_back_unchanged_as_float32():
    wave = np.random.default_rng(0).standard_normal((80_000, 2))
    for sent in (wave[:, 0], wave[:, 0].astype(np.float32), wave[:3, 1]):
        back = call("echo", sent, rate=16_000)
        assert back.dtype == np.float32 and np.array_equal(back, sent.astype(np.float32))


def test_another_rate_is_made_16_khz():
    tone = np.sin(2 * np.pi * 500 * np.arange(8_000) / 8_000)
    made = call("echo", tone, rate=8_000)
    expected = np.sin(2 * np.pi * 500 * np.arange(16_000) / 16_000)
    assert len(made) == 16_000
    np.testing.assert_allclose(made[2_000:-2_000], expected[2_000:-2_000], atol=1e-3)


def test_a_refusal_is_an_error_with_the_programs_words_and_it_goes_on():
    _, process = asked()
    with pytest.raises(ExternalToolError) as error:
        call("refuse")
    assert str(error.value).startswith("refuse: I would rather not; ")
    assert asked()[1] == process


@pytest.mark.parametrize("tool", ["mute", "stammer"])
def test_a_program_that_ends_without_a_reply_is_an_error_and_the_next_call_has_a_new_one(tool):
    _, process = asked()
    with pytest.raises(ExternalToolError, match=f"^{tool}: .*ended"):
        call(tool, np.zeros(10), rate=16_000)
    assert asked()[1] != process


def test_audio_that_breaks_off_is_an_error():
    for wave, missing in ((np.ones(10), 1), (np.ones(0), 5)):
        with pytest.raises(ExternalToolError, match="^break off: .*ended"):
            call("break off", wave, rate=16_000, missing=missing)
    assert len(call("break off", np.ones(10), rate=16_000)) == 10


@pytest.mark.parametrize("samples", [1, 80_000])
def test_a_program_that_listens_no_more_is_an_error_and_the_next_call_has_a_new_one(stand_in, samples):
    stand_in.write_text("import os, sys, time\nos.close(0)\nprint(flush=True)\ntime.sleep(1)")
    assert external._program().stdout.readline() == b"\n"
    with pytest.raises(ExternalToolError, match="^echo: .*ended"):
        call("echo", np.zeros(samples), rate=16_000)
    assert external._running is None
    stand_in.write_text(PROGRAM)
    assert len(call("echo", np.zeros(3), rate=16_000)) == 3


def test_close_ends_the_program_and_closing_again_is_no_error():
    asked()
    running = external._running
    close()
    assert running.poll() == 0 and running.stdin.closed and running.stdout.closed and external._running is None
    close()


def test_ctrl_c_in_the_terminal_does_not_reach_the_program():
    """It has a session of its own."""
    _, process = asked()
    assert os.getsid(process) == process != os.getsid(0)


def running(process: int) -> bool:
    """Not one that has ended and is only listed because nobody asked for its status."""
    return psutil.pid_exists(process) and psutil.Process(process).status() != psutil.STATUS_ZOMBIE


def test_the_program_ends_with_its_process(stand_in):
    """At its end by `atexit`; killed, by the pipe that is closed."""
    code = (
        "import json, pathlib, sys, time; from demo_corpus import external\n"
        "external._PROGRAM = pathlib.Path(sys.argv[1])\n"
        "print(json.loads(external.call('ask').tobytes())[1], flush=True)\n"
        "running = external._running\n"
        "import atexit; atexit._run_exitfuncs(); print(running.poll(), flush=True)\n"
        "external.call('ask'); print(external._running.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(stand_in)], stdout=subprocess.PIPE, text=True) as parent:
        first = int(parent.stdout.readline())
        assert parent.stdout.readline() == "0\n" and not running(first)
        second = int(parent.stdout.readline())
        parent.send_signal(signal.SIGKILL)
    until = time.monotonic() + 30
    while running(second) and time.monotonic() < until:
        time.sleep(0.02)
    assert not running(second)
