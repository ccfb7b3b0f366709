"""The program that calls the synthesisers: how it serves requests, with tools that are easy to see through, and what it asks
of the real ones."""

from __future__ import annotations

import io
import json
import os
import signal
import sys
from concurrent.futures.process import BrokenProcessPool
from types import SimpleNamespace

import numpy as np
import pytest

from demo_corpus import external, gpl_worker
from demo_corpus.external import ExternalToolError, call
from tests.demo_corpus.conftest import RATE, talk
from tests.demo_corpus.test_attack_steps import levels

TEXT = "Please hold while I try to connect your call."


class Echo:
    """A tool: a wave `gain` times as loud, at the rate it is asked for. Counts its starts."""

    started = 0

    def __init__(self) -> None:
        Echo.started += 1

    def __call__(self, wave: np.ndarray, gain: float = 1.0, rate: float = 8_000.0) -> tuple[np.ndarray, float]:
        return wave.astype(np.float64) * gain, rate


class Absent:
    """A tool that is not installed."""

    def __init__(self) -> None:
        raise ModuleNotFoundError("No module named 'absent'")


def request(tool: str, wave: np.ndarray | None = None, **parameters: object) -> bytes:
    coded = np.asarray([] if wave is None else wave, dtype=np.float32)
    return json.dumps({"tool": tool, "samples": len(coded), **parameters}).encode() + b"\n" + coded.tobytes()


@pytest.fixture
def served(monkeypatch):
    """Runs the program on requests until they end; gives each reply with its samples."""
    monkeypatch.setattr(gpl_worker, "TOOLS", {"echo": Echo, "absent": Absent})
    monkeypatch.setattr(Echo, "started", 0)

    def serve(*requests: bytes) -> list[tuple[dict, np.ndarray]]:
        flushed: list[int] = []

        class Output(io.BytesIO):
            def flush(self) -> None:
                flushed.append(self.tell())

        output = Output()
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"".join(requests))))
        monkeypatch.setattr(sys, "stdout", SimpleNamespace(buffer=output))
        gpl_worker.main()
        assert len(flushed) == len(requests) and flushed[-1:] == [len(output.getvalue())][: len(flushed)]
        output.seek(0)
        replies = []
        while line := output.readline():
            reply = json.loads(line)
            replies.append((reply, np.frombuffer(output.read(4 * reply.get("samples", 0)), dtype=np.float32)))
        return replies

    return serve


def test_requests_are_served_until_they_end_and_a_tool_is_started_once(served):
    assert served() == []
    replies = served(request("echo", [1, 2]), request("echo", [3, 4, 5], gain=2.0, rate=22_050.0), request("echo"))
    assert [reply for reply, _ in replies] == [
        {"samples": 2, "rate": 8_000},
        {"samples": 3, "rate": 22_050},
        {"samples": 0, "rate": 8_000},
    ]
    assert [list(wave) for _, wave in replies] == [[1, 2], [6, 8, 10], []] and Echo.started == 1


def test_an_error_is_a_reply_and_the_next_request_is_served(served):
    replies = served(
        request("absent"),
        request("echo", [7], gain="x"),
        request("other", [1]),
        request("echo", [7], loud=1),
        request("echo", [7]),
    )
    errors = [reply["error"] for reply, _ in replies[:-1]]
    assert errors[0] == "ModuleNotFoundError: No module named 'absent'"
    assert errors[1].startswith(("UFuncTypeError: ", "_UFuncNoLoopError: ", "UFuncNoLoopError: "))
    assert errors[2] == "KeyError: 'other'" and "unexpected keyword argument 'loud'" in errors[3]
    assert all(list(reply) == ["error"] for reply, _ in replies[:-1])
    assert replies[-1][0] == {"samples": 1, "rate": 8_000} and list(replies[-1][1]) == [7]


def crash(*_: object) -> None:
    """As for want of memory."""
    os.kill(os.getpid(), signal.SIGKILL)


def test_espeak_without_its_data_is_an_error(tmp_path):
    """Left to itself, the library would end the process."""
    espeak = gpl_worker.Espeak()
    espeak._data = str(tmp_path)
    with pytest.raises(RuntimeError, match="^eSpeak NG .*data folder"):
        espeak(np.zeros(0), TEXT, "en-us", rate=160)


def test_a_crash_of_espeak_is_an_error_too(monkeypatch):
    """It runs in a fork, which nobody may wait for in vain."""
    espeak = gpl_worker.Espeak()
    monkeypatch.setattr(gpl_worker, "_speak", crash)
    with pytest.raises(BrokenProcessPool):
        espeak(np.zeros(0), TEXT, "en-us", rate=160)


# ---- the real synthesisers, through the pipe -------------------------------------------------------------------------


def contour(wave: np.ndarray) -> np.ndarray:
    """F0 in Hz wherever there is one."""
    import pysptk

    f0 = pysptk.swipe(np.asarray(wave, dtype=np.float64), RATE, 80, min=60, max=500)
    return f0[f0 > 0]


def pitch(wave: np.ndarray) -> float:
    """Median F0 in Hz."""
    return float(np.median(contour(wave)))


def centre(wave: np.ndarray) -> float:
    """Centre of the power spectrum in Hz, of the square root of power so that weak formants count."""
    size = np.abs(np.fft.rfft(wave))
    return float(np.sum(size * np.fft.rfftfreq(len(wave), 1 / RATE)) / np.sum(size))


PLAIN = {"seed": 1, "formants": 1.0, "pitch": 1.0, "pitch_range": 1.0}


def test_psola_keeps_the_duration_and_moves_pitch_and_formants_by_what_it_is_asked():
    wave = talk(1, seconds=1.5)
    plain, high, wide = (call("psola", wave, **PLAIN | change) for change in ({}, {"pitch": 1.3}, {"formants": 1.15}))
    assert all(abs(len(made) - len(wave)) <= 2 for made in (plain, high, wide))
    assert pitch(plain) == pytest.approx(pitch(wave), rel=0.03)
    assert pitch(high) / pitch(plain) == pytest.approx(1.3, rel=0.03)
    assert pitch(wide) / pitch(plain) == pytest.approx(1, rel=0.03) and centre(wide) > 1.05 * centre(plain)
    assert np.corrcoef(plain[RATE // 10 : RATE], wave[RATE // 10 : RATE])[0, 1] > 0.8


def test_praat_and_espeak_make_what_they_ever_made():
    """To a hundredth of a dB, in bands and parts. A breathy voice, whose noise has a seed. With more of a change RECIPE must be
    raised."""
    psola = call("psola", talk(1, seconds=1.5), seed=7, formants=1.1, pitch=0.8, pitch_range=1.2)
    ever = [-50.81, -38.1, -45.13, -40.99, -65.54, -79.96, -32.32, -31.15, -35.48, -35.11, -31.08, -32.51]
    np.testing.assert_allclose(levels(psola), ever, atol=0.01)
    espeak = call("espeak", text=TEXT, voice="en-us+f2", rate=160, pitch=45, range=55)
    ever = [-30.44, -24.86, -27.16, -36.0, -35.64, -47.19, -21.21, -16.69, -18.56, -20.02, -20.21, -17.66]
    np.testing.assert_allclose(levels(espeak), ever, atol=0.01)


def test_psola_flattens_the_pitch_where_it_is_asked_to():
    wave = talk(1, seconds=1.5)
    waves = (wave, *(call("psola", wave, **PLAIN | {"pitch_range": part}) for part in (1.0, 0.2)))
    own, plain, flat = (np.ptp(np.percentile(contour(one), [10, 90])) for one in waves)
    assert flat < 0.3 * plain and plain == pytest.approx(own, rel=0.15)


def test_psola_takes_a_wave_without_any_pitch():
    noise = 0.1 * np.random.default_rng(0).standard_normal(RATE)
    silence = np.zeros(RATE)
    assert all(len(call("psola", wave, **PLAIN)) == pytest.approx(RATE, abs=2) for wave in (noise, silence))


def test_espeak_reads_at_the_rate_pitch_and_range_it_is_asked():
    style = {"text": TEXT, "voice": "en-us+m1", "rate": 160, "pitch": 50, "range": 50}
    plain = call("espeak", **style)
    assert np.abs(plain).max() < 1 and 0.02 < np.sqrt(np.mean(plain**2)) < 0.5
    assert len(plain) / len(call("espeak", **style | {"rate": 320})) == pytest.approx(2, rel=0.15)
    assert pitch(call("espeak", **style | {"pitch": 90})) > 1.15 * pitch(plain)
    assert not np.array_equal(call("espeak", **style | {"range": 0}), plain)
    twice = call("espeak", **style | {"text": f"{TEXT} {TEXT}"})
    assert len(twice) == pytest.approx(2 * len(plain), rel=0.2)


def test_espeak_s_samples_are_16_bit_of_full_scale_one():
    wave, rate = gpl_worker.Espeak()(np.zeros(0), TEXT, "en-us", rate=160)
    assert rate == 22_050 and wave.dtype == np.float32 and np.array_equal(wave * 32_768, np.round(wave * 32_768))
    assert len(np.unique(wave)) > 1_000


def test_espeak_reads_letters_of_other_languages_as_such():
    """As UTF-8: read byte by byte, 'č' would be two letters with names of their own."""
    lengths = [len(call("espeak", text=text, voice="cs", rate=160)) for text in ("čáp", "cap", "ÄŤĂˇp")]
    assert lengths[0] < 1.4 * lengths[1]


def test_espeak_without_a_voice_or_a_setting_says_so():
    with pytest.raises(ExternalToolError, match="^espeak: ValueError: .*'nobody'"):
        call("espeak", text=TEXT, voice="nobody", rate=160)
    with pytest.raises(ExternalToolError, match="^espeak: KeyError: 'volume'"):
        call("espeak", text=TEXT, voice="en-us", volume=3)


def test_piper_is_slower_where_it_is_asked_to_be_and_its_seed_draws():
    style = {"text": TEXT, "seed": 3, "slowness": 1.0}
    plain = call("piper", **style)
    assert RATE < len(plain) < 10 * RATE and 0.01 < np.sqrt(np.mean(plain**2)) < 0.5 and np.abs(plain).max() < 1.1
    assert len(call("piper", **style | {"slowness": 1.5})) > 1.25 * len(plain)
    other = call("piper", **style | {"seed": 4})
    assert len(other) != len(plain) or not np.array_equal(other, plain)
    assert np.array_equal(call("piper", **style), plain)
    assert len(call("piper", **style | {"text": f"{TEXT} {TEXT}"})) > 1.5 * len(plain)


def test_the_helper_s_rate_is_the_library_s():
    assert gpl_worker.RATE == RATE and set(gpl_worker.TOOLS) == {"psola", "espeak", "piper"} and external._PROGRAM.is_file()
