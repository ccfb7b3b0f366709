"""Lossy codecs as distortions. Encoding and decoding happen in memory, without files or external programs.

Libraries used for each codec:

- FFmpeg, through PyAV: AAC, Opus, AMR, G.722, G.726, a-law, mu-law.
- LAME and minimp3, through fast-mp3-augment (the back end of audiomentations' `Mp3Compression`): MP3. FFmpeg's MP3 takes
  three times as long (benchmarks/augment.py).
- libvorbis, through soundfile: Vorbis. FFmpeg's own encoder is experimental, stereo only, and has no bit rate setting.

`missing()` lists the codecs that the installed libraries do not provide. Requesting one is an error; it is never replaced.
"""

from __future__ import annotations

import io
import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

import av
import fast_mp3_augment
import numpy as np
import soundfile
import soxr
from scipy.signal import correlate, lfilter

from aasist_lib.audio import RATE
from aasist_lib.augment.base import AugmentationError, Distortion

_TAIL = RATE // 40
"""Number of zeros appended before encoding, so that the decoder outputs the clip's last samples."""
_SHORTEST = RATE // 8
"""Shorter clips are padded with zeros: LAME needs at least 0.1 s."""
_LARGEST_DELAY_SECONDS = 0.2


def by_ffmpeg(info: CodecInfo, wave: np.ndarray, rate: int, kbps: float) -> tuple[np.ndarray, int]:
    """Code with FFmpeg; the default of `CodecInfo.code`."""
    encoder: Any = av.CodecContext.create(info.encoder, "w")  # an audio context, but its static type is the general one
    encoder.sample_rate, encoder.layout, encoder.format = rate, "mono", encoder.codec.audio_formats[0].name
    encoder.bit_rate, encoder.options = round(1000 * kbps), dict(info.options)
    frame = av.AudioFrame.from_ndarray(wave[None], "fltp", "mono")
    frame.sample_rate = rate
    packets = [*encoder.encode(frame), *encoder.encode(None)]
    decoder: Any = av.CodecContext.create(info.decoder, "r")
    decoder.sample_rate, decoder.layout = rate, "mono"
    # Needed by G.726 only: its packets do not contain the number of bits per sample.
    decoder.options = {"bits_per_coded_sample": str(round(1000 * kbps / rate))}
    if encoder.extradata:
        decoder.extradata = encoder.extradata
    frames = [frame for packet in [*packets, None] for frame in decoder.decode(packet)]
    decoded = np.concatenate([frame.to_ndarray().ravel() for frame in frames])
    return (decoded / np.float32(32768) if decoded.dtype == np.int16 else decoded), frames[0].sample_rate


def by_lame(info: CodecInfo, wave: np.ndarray, rate: int, kbps: float) -> tuple[np.ndarray, int]:
    """Code with LAME and minimp3; `CodecInfo.code` for MP3."""
    return fast_mp3_augment.compress_roundtrip(wave, rate, round(kbps)), rate


def by_libvorbis(info: CodecInfo, wave: np.ndarray, rate: int, kbps: float) -> tuple[np.ndarray, int]:
    """Code with libvorbis; `CodecInfo.code` for Vorbis."""
    # For mono, the nominal bit rate rises linearly with quality, from its value at quality 0 to that at 1 (0.5 at 16 kHz).
    lowest, span = {8_000: (14, 28), 16_000: (24, 80)}[rate]
    memory = io.BytesIO()
    soundfile.write(memory, wave, rate, format="OGG", subtype="VORBIS", compression_level=1 - (kbps - lowest) / span)
    memory.seek(0)
    return soundfile.read(memory, dtype="float32")


@dataclass(frozen=True)
class CodecInfo:
    """A codec: the names of its encoder and decoder, and its bit rates in kbit/s for each sampling rate in Hz.

    `code(info, wave, rate, kbps)` returns the decoded wave, including the codec's delay, and its sampling rate. `options` are
    passed to FFmpeg's encoder.
    """

    encoder: str
    decoder: str
    kbps: Mapping[int, tuple[float, ...]]
    code: Callable[[CodecInfo, np.ndarray, int, float], tuple[np.ndarray, int]] = by_ffmpeg
    options: Mapping[str, str] = field(default_factory=dict)

    def installed(self) -> bool:
        """Return whether the installed libraries provide both the encoder and the decoder."""
        if self.code is by_lame:  # fast-mp3-augment is a required package, imported above
            return True
        if self.code is by_libvorbis:
            return "VORBIS" in soundfile.available_subtypes("OGG")
        return _in_ffmpeg(self.encoder, "w") and _in_ffmpeg(self.decoder, "r")


@cache
def _in_ffmpeg(name: str, mode: Literal["r", "w"]) -> bool:
    try:
        av.Codec(name, mode)
    except av.codec.codec.UnknownCodecError:
        return False
    return True


_MPEG2 = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_MPEG1 = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_AMR_WB = (6.6, 8.85, 12.65, 14.25, 15.85, 18.25, 19.85, 23.05, 23.85)
_OPUS = (6, 8, 12, 16, 24, 32, 48, 64)

CODECS: dict[str, CodecInfo] = {
    "mp3": CodecInfo("LAME", "minimp3", {8_000: _MPEG2[:8], 16_000: _MPEG2, 24_000: _MPEG2, 44_100: _MPEG1}, by_lame),
    "aac": CodecInfo(
        "aac",
        "aac",
        {
            8_000: (8, 12, 16, 24, 32),
            16_000: (8, 12, 16, 24, 32, 48, 64),
            24_000: (12, 16, 24, 32, 48, 64, 96),
            44_100: (24, 32, 48, 64, 96, 128),
        },
    ),
    # Complexity 5 of 10, as on phones; the highest takes twice as long.
    "opus": CodecInfo(
        "libopus", "libopus", {8_000: _OPUS[:6], 16_000: _OPUS, 48_000: _OPUS}, options={"compression_level": "5"}
    ),
    "vorbis": CodecInfo("libvorbis", "libvorbis", {8_000: (14, 21, 28, 35, 42), 16_000: _MPEG2[2:8]}, by_libvorbis),
    "amr-nb": CodecInfo("libopencore_amrnb", "amrnb", {8_000: (4.75, 5.15, 5.9, 6.7, 7.4, 7.95, 10.2, 12.2)}),
    "amr-wb": CodecInfo("libvo_amrwbenc", "amrwb", {16_000: _AMR_WB}),
    "g722": CodecInfo("g722", "g722", {16_000: (64,)}),
    "g726": CodecInfo("g726", "g726", {8_000: (16, 24, 32, 40)}),
    "a-law": CodecInfo("pcm_alaw", "pcm_alaw", {8_000: (64,), 16_000: (128,)}),
    "mu-law": CodecInfo("pcm_mulaw", "pcm_mulaw", {8_000: (64,), 16_000: (128,)}),
}
"""All supported codecs, installed or not."""


def available() -> tuple[str, ...]:
    """Return the codecs in `CODECS` that are installed."""
    return tuple(name for name, info in CODECS.items() if info.installed())


def missing() -> tuple[str, ...]:
    """Return the codecs in `CODECS` that are not installed."""
    return tuple(name for name, info in CODECS.items() if not info.installed())


def require(codecs: Sequence[str], fewest: int = 1) -> None:
    """Check codec names.

    Raises:
        AugmentationError: fewer than `fewest` different codecs are given, or one is unknown or not installed; the message
            lists the available codecs.
    """
    installed = f"available: {', '.join(available())}"
    if isinstance(codecs, str) or len(set(codecs)) < fewest:
        raise AugmentationError(f"codecs = {codecs!r}: give a list of {fewest} or more different codecs; {installed}")
    for name in codecs:
        if name not in CODECS:
            raise AugmentationError(f"unknown codec {name!r}; {installed}")
        if name in missing():
            info = CODECS[name]
            library = "libsndfile" if info.code is by_libvorbis else f"FFmpeg inside PyAV {av.__version__}"
            raise AugmentationError(
                f"{name} is not installed: {library} has no encoder {info.encoder!r} or no decoder {info.decoder!r};"
                f" missing: {', '.join(missing())}; {installed}"
            )


def round_trip(wave: np.ndarray, codec: str, kbps: float, rate: int) -> np.ndarray:
    """Encode and decode a clip, and remove the codec's delay.

    Between 300 and 3400 Hz the level changes by at most 1 dB at 16 kbit/s and above (LAME lowers it by 0.45 dB), and by at
    most 3 dB below (AAC adds noise; Opus and AMR lose breathiness). A clip that exceeds full scale is scaled down for coding
    and back up afterwards. AMR also shifts phases below 300 Hz; this is not a delay and is not removed.

    Args:
        wave: float32 `(samples,)` at 16 kHz; at least one sample.
        codec: one of `available()`.
        kbps: bit rate, one of `CODECS[codec].kbps[rate]`.
        rate: sampling rate for coding, in Hz, one of the keys of `CODECS[codec].kbps`.

    Returns:
        float32 `(samples,)` at 16 kHz, aligned to `wave` within one sample. Equal arguments give equal results.

    Raises:
        AugmentationError: the codec, sampling rate or bit rate is not available.
    """
    require((codec,))
    info = CODECS[codec]
    if kbps not in info.kbps.get(rate, ()):
        raise AugmentationError(
            f"{codec} at {rate} Hz does not offer {kbps} kbit/s; choose from (sampling rate in Hz: bit rates) {dict(info.kbps)}"
        )
    padded = np.pad(wave, (0, max(_TAIL, _SHORTEST - len(wave))))
    sent = _resample(padded, RATE, rate)
    peak = max(np.abs(sent).max(), np.float32(1))
    received, its_rate = info.code(info, sent / peak, rate, kbps)
    late = delay(codec, kbps, rate)
    aligned = np.pad(received[max(late, 0) :], (max(-late, 0), 0))
    back = _resample(aligned, its_rate, RATE)[: len(wave)]
    return np.pad(back, (0, len(wave) - len(back))) * peak


@cache
def delay(codec: str, kbps: float, rate: int) -> int:
    """Measure a codec's delay by cross-correlation, in samples at the decoder's output rate.

    A fixed table would not do: how much delay FFmpeg removes differs by codec and version, and Opus' delay depends on its mode.
    """
    sent = _resample(_bursts(), RATE, rate)
    received, its_rate = CODECS[codec].code(CODECS[codec], sent, rate, kbps)
    reference = _resample(sent, rate, its_rate)
    lags = np.arange(1 - len(reference), len(received))
    likeness = np.where(np.abs(lags) < _LARGEST_DELAY_SECONDS * its_rate, correlate(received, reference), -np.inf)
    return int(lags[np.argmax(likeness)])


def _bursts() -> np.ndarray:
    """Return one second of noise with four bursts, 15 dB weaker towards 8 kHz.

    Of the test signals tried, only this one gives a single clear correlation peak at the right lag for every codec, including
    AMR and G.726 at their lowest bit rates.
    """
    wave = lfilter([1], [1, -0.7], np.random.default_rng(3).standard_normal(RATE))
    wave *= np.sin(4 * np.pi * np.arange(RATE) / RATE) ** 2
    return (0.5 * wave / np.abs(wave).max()).astype(np.float32)


def _resample(wave: np.ndarray, source: int, target: int) -> np.ndarray:
    return wave if source == target else soxr.resample(wave, source, target)


class CodecCompression(Distortion):
    """Compress with a random codec from a list. The bit rate is drawn log-uniformly and rounded to one that the codec offers.

    Args:
        codecs: names from `available()`, equally likely.
        kbps: range of the bit rate in kbit/s, in either order, positive. The codec's nearest bit rate (by ratio) is used, so a
            codec with a single bit rate always uses that one.
        rates: sampling rates in Hz to draw from; the codec's nearest sampling rate (by ratio) is used.
        p: probability of applying the distortion.

    Raises:
        AugmentationError: a codec is unknown or not installed, or `kbps` or `rates` is not valid.
    """

    fewest_codecs = 1

    def __init__(
        self,
        codecs: Sequence[str] = ("mp3", "aac", "opus"),
        kbps: tuple[float, float] = (64, 16),
        rates: Sequence[int] = (RATE,),
        p: float = 0.5,
    ) -> None:
        super().__init__(p)
        require(codecs, self.fewest_codecs)
        if not (len(kbps) == 2 and min(kbps) > 0 and math.isfinite(max(kbps))):
            raise AugmentationError(f"kbps = {kbps!r}: must be a pair of positive bit rates in kbit/s")
        if not (len(rates) and min(rates) > 0):
            raise AugmentationError(f"rates = {rates!r}: must be a list of sampling rates in Hz, such as (8000, 16000)")
        self.codecs, self.kbps, self.rates = tuple(codecs), tuple(kbps), tuple(rates)

    def draw(self, length: int) -> dict[str, object]:
        return self.draw_setting(random.choice(self.codecs))

    def draw_setting(self, codec: str) -> dict[str, object]:
        """Draw a sampling rate and a bit rate for a codec; return the arguments for `round_trip`."""
        bit_rates = CODECS[codec].kbps
        wanted_rate = random.choice(self.rates)
        wanted_kbps = math.exp(random.uniform(*map(math.log, self.kbps)))
        rate = min(bit_rates, key=lambda rate: abs(math.log(rate / wanted_rate)))
        return {
            "codec": codec,
            "kbps": min(bit_rates[rate], key=lambda kbps: abs(math.log(kbps / wanted_kbps))),
            "rate_hz": rate,
        }

    def distort(self, samples: np.ndarray) -> np.ndarray:
        return round_trip(samples, self.parameters["codec"], self.parameters["kbps"], self.parameters["rate_hz"])


class CodecChain(CodecCompression):
    """Compress with two different codecs in sequence, as when a message is forwarded. Same arguments as its base class.

    The record contains both settings under `chain`.
    """

    fewest_codecs = 2

    def draw(self, length: int) -> dict[str, object]:
        return {"chain": [self.draw_setting(codec) for codec in random.sample(self.codecs, 2)]}

    def distort(self, samples: np.ndarray) -> np.ndarray:
        for setting in self.parameters["chain"]:
            samples = round_trip(samples, setting["codec"], setting["kbps"], setting["rate_hz"])
        return samples
