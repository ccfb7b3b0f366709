"""Files with all their samples and headers that tell less, joined files, and files that change on the way.

`corpus` is what `tests/audio/test_whole.py` goes through. Lengths are those that another decoder finds than the one that the
library uses: miniaudio where it knows the format, else FFmpeg where the library reads with libsndfile; files that only FFmpeg
reads are compared with what went into them.
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Callable
from fractions import Fraction
from typing import NamedTuple

import av
import miniaudio
import numpy as np
import soundfile
import soxr

FIRST, SECOND = 3.0, 2.0
"""Seconds of the two sounds that files are made of."""


class Made(NamedTuple):
    """A file's bytes, its ending, and the seconds that must be read of it, give or take `within`; or why it is refused."""

    content: bytes
    ending: str
    seconds: float = 0.0
    within: float = 1e-3
    refused: str = ""


def sound(seconds: float, rate: int, channels: int = 1) -> np.ndarray:
    """Noise that comes and goes, so that an encoder with a variable bit rate varies it; `(samples, channels)`."""
    rng = np.random.default_rng(round(10 * seconds) + channels)
    time = np.arange(round(16_000 * seconds)) / 16_000
    wave = 0.1 * rng.standard_normal((time.size, channels)) * (np.sin(2 * np.pi * time) > 0)[:, None]
    return soxr.resample(wave, 16_000, rate).astype(np.float32)


# ---- encoders --------------------------------------------------------------------------------------------------------


def by_sndfile(container: str, subtype: str | None = None, **options: object) -> Callable[[float, int, int], bytes]:
    """`encode(seconds, rate, channels)` by libsndfile."""

    def encode(seconds: float, rate: int, channels: int) -> bytes:
        file = io.BytesIO()
        soundfile.write(file, sound(seconds, rate, channels), rate, format=container, subtype=subtype, **options)
        return file.getvalue()

    return encode


def by_ffmpeg(container: str, codec: str, **options: str) -> Callable[[float, int, int], bytes]:
    """`encode(seconds, rate, channels)` by FFmpeg."""

    def encode(seconds: float, rate: int, channels: int) -> bytes:
        layout = {1: "mono", 2: "stereo"}[channels]
        file, wave = io.BytesIO(), sound(seconds, rate, channels).T
        with av.open(file, "w", format=container, options=options) as output:
            stream = output.add_stream(codec, rate=rate, layout=layout)
            stream.bit_rate = 64_000
            resampler = av.AudioResampler(format=stream.codec_context.codec.audio_formats[0].name)
            for start in range(0, wave.shape[1], 2048):
                frame = av.AudioFrame.from_ndarray(wave[:, start : start + 2048].copy(), "fltp", layout)
                frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
                for converted in resampler.resample(frame):
                    output.mux(stream.encode(converted))
            output.mux(stream.encode(None))
        return file.getvalue()

    return encode


class Kind(NamedTuple):
    """A container with its codec: how it is written, which decoder is asked for lengths, and how far these may be off."""

    ending: str
    encode: Callable[[float, int, int], bytes]
    asked: str
    rates: tuple[int, int] = (16_000, 32_000)
    samples_off: int = 0


KINDS = {
    "WAV": Kind("wav", by_sndfile("WAV"), "miniaudio"),
    "WAV of floats": Kind("wav", by_sndfile("WAV", "FLOAT"), "miniaudio"),
    "WAV, A-law": Kind("wav", by_sndfile("WAV", "ALAW"), "miniaudio"),
    "RF64": Kind("wav", by_sndfile("RF64"), "miniaudio"),
    "AIFF": Kind("aiff", by_sndfile("AIFF"), "ffmpeg"),
    "FLAC": Kind("flac", by_sndfile("FLAC"), "miniaudio"),
    "FLAC by FFmpeg": Kind("flac", by_ffmpeg("flac", "flac"), "miniaudio"),
    "FLAC in Ogg": Kind("oga", by_ffmpeg("ogg", "flac"), "ffmpeg"),
    "Vorbis, variable": Kind("ogg", by_sndfile("OGG", "VORBIS"), "miniaudio"),
    "Opus, variable": Kind("opus", by_sndfile("OGG", "OPUS"), "ffmpeg", (16_000, 48_000)),
    "Opus by FFmpeg": Kind("opus", by_ffmpeg("ogg", "libopus"), "ffmpeg", (16_000, 48_000), 16),
    "MP3, constant": Kind("mp3", by_ffmpeg("mp3", "libmp3lame"), "miniaudio", samples_off=2400),
    "MP3, variable": Kind("mp3", by_sndfile("MP3", bitrate_mode="VARIABLE"), "miniaudio", samples_off=2400),
    "MP3, constant, no Xing": Kind("mp3", by_ffmpeg("mp3", "libmp3lame", write_xing="0", id3v2_version="0"), "miniaudio",
                                   samples_off=2400),
    "AAC": Kind("aac", by_ffmpeg("adts", "aac"), "none", samples_off=2048),
    "AAC in M4A": Kind("m4a", by_ffmpeg("mp4", "aac"), "none", samples_off=1024),
    "AAC in MOV": Kind("mov", by_ffmpeg("mov", "aac"), "none", samples_off=1024),
    "AAC in Matroska": Kind("mka", by_ffmpeg("matroska", "aac"), "none", samples_off=1024),
    "Opus in WebM": Kind("webm", by_ffmpeg("webm", "libopus"), "none", (16_000, 48_000), 16),
}  # fmt: skip
JOINED = [name for name in KINDS if name not in ("RF64", "WAV, A-law")]
"""What is joined end to end and read as one."""


def seconds_by(decoder: str, content: bytes, rate: int) -> float | None:
    """The length that a decoder finds which the library does not use for the format; None where there is none."""
    if decoder == "miniaudio":
        return miniaudio.decode(content, sample_rate=rate).num_frames / rate
    if decoder == "ffmpeg":
        with av.open(io.BytesIO(content)) as file:
            return sum(frame.samples / frame.sample_rate for frame in file.decode(audio=0))
    return None


def plain(name: str, rate: int = 0, channels: int = 1, seconds: float = FIRST) -> Made:
    """A file of a kind, as its encoder leaves it."""
    kind = KINDS[name]
    rate = rate or kind.rates[0]
    content = kind.encode(seconds, rate, channels)
    found = seconds_by(kind.asked, content, rate)
    within = kind.samples_off / rate + 2 / 16_000
    assert found is None or abs(found - seconds) <= within, (name, found)
    return Made(content, kind.ending, found if found is not None else seconds, within)


def joined(*files: Made) -> Made:
    """Files end to end."""
    content = b"".join(file.content for file in files)
    return Made(content, files[0].ending, sum(file.seconds for file in files), sum(file.within for file in files))


def changed(made: Made, change: Callable[[bytes], bytes], **facts: object) -> Made:
    """The same samples in other bytes."""
    return made._replace(content=change(made.content), **facts)


# ---- headers ---------------------------------------------------------------------------------------------------------


def put(mark: bytes, offset: int, form: str, scale: Callable[[float], float]) -> Callable[[bytes], bytes]:
    """Another number in the header, `offset` bytes behind the first `mark`, of a form of `struct`."""

    def change(content: bytes) -> bytes:
        at = content.index(mark) + offset
        (value,) = struct.unpack_from(form, content, at)
        edited = bytearray(content)
        struct.pack_into(form, edited, at, type(value)(scale(value)))
        assert bytes(edited) != content
        return bytes(edited)

    return change


def half(value: float) -> float:
    return value / 2 // 8 * 8 if value >= 16 else value / 2


def double(value: float) -> float:
    return value * 2


def flac_total(scale: Callable[[float], float]) -> Callable[[bytes], bytes]:
    """Another number of samples in the header of a FLAC file, in the low 36 bits of eight bytes."""
    return put(b"fLaC", 18, ">Q", lambda value: value >> 36 << 36 | int(scale(value & (1 << 36) - 1)))


def sphere(content: bytes) -> bytes:
    """A NIST SPHERE file of the samples of a WAV file."""
    samples = content[44:]
    head = f"NIST_1A\n   1024\nsample_count -i {len(samples) // 2}\nsample_n_bytes -i 2\nchannel_count -i 1\n"
    head += "sample_byte_format -s2 01\nsample_rate -i 16000\nsample_coding -s3 pcm\nend_head\n"
    return head.encode().ljust(1024) + samples


def count_of(scale: Callable[[float], float]) -> Callable[[bytes], bytes]:
    """Another number of samples in the header of a SPHERE file."""

    def change(content: bytes) -> bytes:
        count = re.search(rb"sample_count -i (\d+)", content)
        number = str(int(scale(int(count[1])))).encode().ljust(len(count[1]) + 1)[: len(count[1])]
        return content[: count.start(1)] + number + content[count.end(1) :]

    return change


def _headers() -> dict[str, Made]:
    wav, aiff, flac, webm = plain("WAV"), plain("AIFF"), plain("FLAC"), plain("Opus in WebM")
    au, w64, caf = (
        Made(by_sndfile(form)(FIRST, 16_000, 1), form.lower(), FIRST, 1e-4) for form in ("AU", "W64", "CAF")
    )  # fmt: skip
    nist = changed(wav, sphere, ending="sph")
    vbr, cbr = plain("MP3, variable"), plain("MP3, constant")
    m4a = plain("AAC in M4A")
    missing, extra, lacking = r"\d+ \w+ bytes", "cut off|not there", "cut off"
    w64_data = bytes.fromhex("64617461f3acd3118cd100c04f8edb8a")
    return {
        "AU": au, "W64": w64, "CAF": caf, "NIST": nist,
        "WAV, size untold": changed(wav, put(b"data", 4, "<I", lambda value: 0xFFFFFFFF)),
        "WAV, size 0": changed(wav, put(b"data", 4, "<I", lambda value: 0)),
        "WAV, both sizes 0": changed(changed(wav, put(b"data", 4, "<I", lambda value: 0)),
                                     put(b"RIFF", 4, "<I", lambda value: 0)),
        "WAV, size too small": changed(wav, put(b"data", 4, "<I", half)),
        "WAV, size odd and too small": changed(wav, put(b"data", 4, "<I", lambda value: 12_345)),
        "WAV of the first block's size": changed(wav, put(b"data", 4, "<I", lambda value: 512)),
        "WAV, size too large": changed(wav, put(b"data", 4, "<I", double), refused=extra),
        "WAV of floats, size too small": changed(plain("WAV of floats"), put(b"data", 4, "<I", half)),
        "AIFF, size too small": changed(aiff, put(b"SSND", 4, ">I", half), refused=missing),
        "AIFF, size too large": changed(aiff, put(b"SSND", 4, ">I", double), refused=extra),
        "AU, size untold": changed(au, put(b".snd", 8, ">I", lambda value: 0xFFFFFFFF)),
        "AU, size too small": changed(au, put(b".snd", 8, ">I", half), refused=missing),
        "AU, size too large": changed(au, put(b".snd", 8, ">I", double), refused=extra),
        "W64, size too small": changed(w64, put(w64_data, 16, "<Q", half), refused=missing),
        "W64, size too large": changed(w64, put(w64_data, 16, "<Q", double), refused=extra),
        "CAF, size untold": changed(caf, put(b"data", 4, ">q", lambda value: -1)),
        "CAF, size too small": changed(caf, put(b"data", 4, ">q", half), refused=missing),
        "NIST, count too small": changed(nist, count_of(half), refused=missing),
        "FLAC, length untold": changed(flac, flac_total(lambda value: 0)),
        "FLAC, length too small": changed(flac, flac_total(half)),
        "FLAC, length too small by one": changed(flac, flac_total(lambda value: value - 1)),
        "FLAC, length too large": changed(flac, flac_total(double), refused=lacking),
        "MP3, constant, Xing counts too few": changed(cbr, put(b"Info", 8, ">I", half)),
        "MP3, variable, Xing counts too few": changed(vbr, put(b"Xing", 8, ">I", half)),
        "MP3, variable, Xing counts one": changed(vbr, put(b"Xing", 8, ">I", lambda value: 1)),
        "MP3, variable, Xing counts too many": changed(vbr, put(b"Xing", 8, ">I", double), refused=lacking),
        "MP3, variable, no Xing": changed(vbr, without_first_frame, within=vbr.within + 0.15),
        "MP3, constant, no Info": changed(cbr, without_first_frame, within=cbr.within + 0.15),
        "M4A, its header tells a shorter film": changed(m4a, put(b"mvhd", 20, ">I", half)),
        "WebM, its header tells a shorter film": changed(webm, put(b"\x44\x89\x88", 3, ">d", half)),
    }  # fmt: skip


def without_first_frame(content: bytes) -> bytes:
    """An MP3 of libsndfile without the frame that tells how many follow."""
    begin = content.index(b"\xff\xf3")
    return content[:begin] + content[content.index(b"\xff\xf3", begin + 40) :]


def _joints() -> dict[str, Made]:
    made = {}
    for name in JOINED:
        low, high = KINDS[name].rates
        first = plain(name)
        made |= {
            f"{name}, two joined": joined(first, plain(name, seconds=SECOND)),
            f"{name}, mono then stereo": joined(first, plain(name, channels=2, seconds=SECOND)),
            f"{name}, {low} then {high} Hz": joined(first, plain(name, high, seconds=SECOND)),
        }
    made["MP3, four parts with tags"] = joined(*[plain("MP3, constant, no Xing"), plain("MP3, variable")] * 2)
    made["MP3, variable without Xing, joined"] = joined(*[_headers()["MP3, variable, no Xing"]] * 2)
    made["FLAC, lengths too small, joined"] = joined(*[_headers()["FLAC, length too small"]] * 2)
    for before, after in (("WAV", "FLAC"), ("FLAC", "WAV"), ("MP3, constant", "Vorbis, variable"), ("AAC in M4A", "FLAC"),
                          ("Opus in WebM", "WAV"), ("Vorbis, variable", "MP3, constant"), ("AIFF", "FLAC")):  # fmt: skip
        made[f"{before} joined to {after}"] = joined(plain(before), plain(after))._replace(refused="byte|damaged")
    return made


def corpus() -> dict[str, Made]:
    """All of them by name."""
    made = {name: plain(name) for name in KINDS}
    made |= {f"{name}, stereo": plain(name, channels=2) for name in KINDS}
    made |= {f"{name}, {kind.rates[1]} Hz": plain(name, kind.rates[1]) for name, kind in KINDS.items()}
    return made | _headers() | _joints()
