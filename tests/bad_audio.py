"""Files as the world delivers them, sound and bad: the table that `tests/audio/test_bad_audio.py` goes through."""

from __future__ import annotations

import json
import os
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile

from tests.audio.test_io import write_by_ffmpeg

RATE = 16_000
WAVE = (0.1 * np.random.default_rng(0).standard_normal(RATE)).astype(np.float32)
"""One second of noise."""


class Case(NamedTuple):
    """`make(folder)` gives the path; `length` is that of the file at 16 kHz, or `reason` (a pattern) why it is refused.

    `early` is whether the first half second of a bad file can be read all the same: `read_crop` sees no damage behind it.
    """

    make: Callable[[Path], Path]
    length: int | None = None
    reason: str | None = None
    early: bool = False


def written(name: str, wave: np.ndarray = WAVE, rate: int = RATE, **options: str) -> Callable[[Path], Path]:
    """A file by libsndfile; the ending gives its format unless the options do."""

    def make(folder: Path) -> Path:
        soundfile.write(folder / name, wave, rate, **options)
        return folder / name

    return make


def by_ffmpeg(name: str, container: str, codec: str, rate: int) -> Callable[[Path], Path]:
    """A file by FFmpeg, of two seconds."""

    def make(folder: Path) -> Path:
        write_by_ffmpeg(folder / name, container, codec, rate, np.tile(WAVE, 2))
        return folder / name

    return make


def holding(name: str, content: bytes) -> Callable[[Path], Path]:
    """A file of these bytes."""

    def make(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return make


def changed(make: Callable[[Path], Path], change: Callable[[bytearray], bytes]) -> Callable[[Path], Path]:
    """A file whose bytes are changed after it was written."""

    def changing(folder: Path) -> Path:
        path = make(folder)
        path.write_bytes(change(bytearray(path.read_bytes())))
        return path

    return changing


def cut(make: Callable[[Path], Path], share: float) -> Callable[[Path], Path]:
    """The beginning of a file."""
    return changed(make, lambda content: content[: int(share * len(content))])


def zeroed(content: bytearray) -> bytes:
    """400 bytes of the middle are gone."""
    middle = len(content) // 2
    content[middle : middle + 400] = bytes(400)
    return content


def flac_says(samples: int) -> Callable[[bytearray], bytes]:
    """A FLAC header that gives this number of samples."""

    def change(content: bytearray) -> bytes:
        content[21] = content[21] & 0xF0 | samples >> 32
        content[22:26] = struct.pack(">I", samples & 0xFFFFFFFF)
        return content

    return change


def wav_says(at: int, value: int, size: int = 4) -> Callable[[bytearray], bytes]:
    """A WAV header with another number at a place."""

    def change(content: bytearray) -> bytes:
        content[at : at + size] = value.to_bytes(size, "little")
        return content

    return change


def linked(name: str, target: str) -> Callable[[Path], Path]:
    """A symbolic link."""

    def make(folder: Path) -> Path:
        if target == "good.wav":
            soundfile.write(folder / target, WAVE, RATE)
        (folder / name).symlink_to(target)
        return folder / name

    return make


def folder_named(name: str) -> Callable[[Path], Path]:
    """A folder."""

    def make(folder: Path) -> Path:
        (folder / name).mkdir()
        return folder / name

    return make


def pipe(folder: Path) -> Path:
    """A named pipe that nobody writes to: opening it waits for ever."""
    os.mkfifo(folder / "pipe.flac")
    return folder / "pipe.flac"


def listening(folder: Path) -> Path:
    """A socket; its path may have no more than 108 bytes, so it is made in its folder."""
    here = os.open(".", os.O_RDONLY)
    os.chdir(folder)
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind("socket.wav")
    finally:
        os.fchdir(here)
        os.close(here)
    return folder / "socket.wav"


def not_utf8(folder: Path) -> Path:
    """A sound file whose name is in Latin 1."""
    soundfile.write(folder / "plain.wav", WAVE, RATE)
    path = Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.wav"))
    os.rename(folder / "plain.wav", path)
    return path


def in_blocks(name: str, seconds: int, rate: int) -> Callable[[Path], Path]:
    """A long FLAC of silence, which takes little room and time."""

    def make(folder: Path) -> Path:
        with soundfile.SoundFile(folder / name, "w", rate, 1, format="FLAC", subtype="PCM_16") as file:
            for _ in range(seconds // 60):
                file.write(np.zeros(60 * rate, np.int16))
        return folder / name

    return make


def mp3_tag(folder: Path) -> Path:
    """An MP3 that has a title and no sound."""
    (folder / "tag.mp3").write_bytes(b"ID3\x04\0\0\0\0\0\x14TIT2\0\0\0\x0a\0\0\x03nothing..")
    return folder / "tag.mp3"


RATES = (8_000, 11_025, 12_000, 22_050, 24_000, 32_000, 44_100, 48_000, 96_000, 192_000)
NAMES = (
    "日本 🎧.wav", "new\nline.wav", "tab\tand'quote\".wav", "-i.wav", "%s%n.wav", "<script>alert(1)<_script>.wav",
    "http:x.wav", "concat:a|b.wav", "x" * 250 + ".wav", " .wav", "=1+1.wav",
)  # fmt: skip
SOUND = {
    "FLAC, 16 bit": Case(written("a.flac"), RATE),
    "FLAC, 24 bit": Case(written("a24.flac", subtype="PCM_24"), RATE),
    "FLAC, 8 bit": Case(written("a8.flac", subtype="PCM_S8"), RATE),
    **{f"WAV, {kind}": Case(written(f"{kind}.wav", subtype=kind), RATE)
       for kind in ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW")},
    "WAV, IMA_ADPCM": Case(written("adpcm.wav", subtype="IMA_ADPCM"), 16_272),  # whole blocks
    **{f"{rate} Hz": Case(written(f"{rate}.flac", np.resize(WAVE, rate), rate), RATE) for rate in RATES},
    **{f"{channels} channels": Case(written(f"{channels}.wav", np.stack([WAVE] * channels, axis=1)), RATE)
       for channels in range(1, 7)},
    "1 sample": Case(written("one.wav", WAVE[:1]), 1),
    "1 sample at 8 kHz": Case(written("one8.flac", WAVE[:1], 8_000), 2),
    "2 samples": Case(written("two.flac", WAVE[:2]), 2),
    "all zeros": Case(written("zeros.flac", 0 * WAVE), RATE),
    "a constant (DC)": Case(written("dc.flac", 0 * WAVE + 0.5), RATE),
    "full-scale clipping": Case(written("clipped.flac", np.sign(WAVE)), RATE),
    "one impulse": Case(written("impulse.wav", np.eye(1, RATE, 100)[0]), RATE),
    "floats of the range of 16-bit numbers": Case(written("integers.wav", 32768 * np.sign(WAVE), subtype="FLOAT"), RATE),
    "floats that are next to nothing": Case(written("denormal.wav", 1e-40 * WAVE, subtype="FLOAT"), RATE),
    "Ogg Vorbis": Case(written("a.ogg"), RATE),
    "MP3": Case(written("a.mp3"), RATE),
    "AAC in M4A": Case(by_ffmpeg("a.m4a", "mp4", "aac", 16_000), 32_768),  # whole frames of 1024
    "WAV named .flac": Case(written("wav.flac", format="WAV"), RATE),
    "MP3 named .wav": Case(written("mp3.wav", format="MP3"), RATE),
    "FLAC named .mp3": Case(written("flac.mp3", format="FLAC"), RATE),
    "FLAC named .raw": Case(written("flac.raw", format="FLAC"), RATE),
    "WAV named .txt": Case(written("wav.txt", format="WAV"), RATE),
    "no extension": Case(written("wav", format="WAV"), RATE),
    "a WAV that counts its header, too": Case(changed(written("sloppy.wav"), wav_says(40, 2 * RATE + 36)), RATE),
    "a WAV that was piped": Case(changed(written("piped.wav"), wav_says(40, 0xFFFFFFFF)), RATE),
    "a link": Case(linked("link.wav", "good.wav"), RATE),
    **{f"named {name[:20]!r}": Case(written(name), RATE) for name in NAMES},
}  # fmt: skip
NOT_AUDIO = "cannot be read as audio"
CUT = "cut off|damaged|cannot be read as audio"
BAD = {
    **{f"empty {name}": Case(holding(name, b""), reason=NOT_AUDIO) for name in ("0.flac", "0.wav", "0.mp3", "0.m4a")},
    "WAV, header only": Case(written("header.wav", WAVE[:0]), reason="holds no samples"),
    "FLAC of no samples": Case(written("none.flac", WAVE[:0]), reason="holds no samples|" + CUT),
    "FLAC, header only": Case(cut(written("header.flac"), 0.004), reason=CUT),
    "MP3, tag only": Case(mp3_tag, reason=NOT_AUDIO),
    "Ogg, header only": Case(cut(written("header.ogg"), 0.1), reason=CUT),
    "M4A, header only": Case(holding("header.m4a", b"\0\0\0\x18ftypM4A \0\0\0\0M4A mp42"), reason=NOT_AUDIO),
    **{f"truncated {name}": Case(cut(written(f"cut-{name}", np.tile(WAVE, 6)), 0.6), reason=CUT, early=early)
       for name, early in (("a.flac", True), ("a.mp3", False), ("a.ogg", False), ("a.wav", False), ("a.aiff", False),
                           ("a.au", False), ("a.w64", False))},
    **{f"half of {name}": Case(cut(written(name, WAVE[: RATE // 4]), 0.55), reason=CUT)
       for name in ("short.wav", "short.aiff", "short.au", "short.w64", "short.flac")},
    "truncated Opus": Case(cut(written("cut.opus", np.tile(WAVE, 6), format="OGG", subtype="OPUS"), 0.6), reason=CUT),
    "truncated M4A": Case(cut(by_ffmpeg("cut.m4a", "mp4", "aac", 16_000), 0.6), reason=CUT),
    "truncated WebM": Case(cut(by_ffmpeg("cut.webm", "webm", "libopus", 48_000), 0.6), reason=CUT),
    "truncated WAV at 8 kHz": Case(cut(written("cut8.wav", np.tile(WAVE, 6), 8_000), 0.6), reason=CUT),
    "FLAC without its last byte": Case(changed(written("last.flac"), lambda content: content[:-1]), reason=CUT, early=True),
    "FLAC that lacks 0.2 s": Case(changed(written("short.flac"), flac_says(RATE + 3_200)), reason="0.2 s of what", early=True),
    "FLAC that lacks a sample": Case(changed(written("less.flac"), flac_says(RATE + 1)), reason="cut off", early=True),
    "FLAC damaged in the middle": Case(changed(written("hole.flac", np.tile(WAVE, 6)), zeroed), reason=CUT, early=True),
    "Ogg damaged in the middle": Case(changed(written("hole.ogg", np.tile(WAVE, 6)), zeroed), reason=CUT),
    "M4A damaged in the middle": Case(changed(by_ffmpeg("hole.m4a", "mp4", "aac", 16_000), zeroed), reason=CUT),
    "text": Case(holding("text.flac", b"this is no sound\n" * 100), reason=NOT_AUDIO),
    "JSON": Case(holding("json.wav", json.dumps(list(range(1000))).encode()), reason=NOT_AUDIO),
    "a web page": Case(holding("404.mp3", b"<!DOCTYPE html><html><body>404 not found</body></html>" * 20), reason=NOT_AUDIO),
    "zero bytes": Case(holding("zeros.m4a", bytes(10_000)), reason=NOT_AUDIO),
    "an archive": Case(holding("zip.ogg", b"PK\x03\x04" + bytes(range(256)) * 30), reason=NOT_AUDIO),
    "random bytes": Case(holding("random.flac", np.random.default_rng(1).bytes(5_000)), reason=CUT),
    "a Git LFS pointer": Case(holding("lfs.flac", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"),
                              reason=NOT_AUDIO),
    "a playlist": Case(holding("list.m4a", b"#EXTM3U\n#EXTINF:1,\na.wav\n#EXT-X-ENDLIST\n"), reason=NOT_AUDIO),
    "NaN": Case(written("nan.wav", np.where(np.arange(RATE) == 9_000, np.nan, WAVE), subtype="FLOAT"),
                reason="NaN or infinite", early=True),
    "infinity": Case(written("inf.wav", np.where(np.arange(RATE) == 5, np.inf, WAVE), subtype="FLOAT"),
                     reason="NaN or infinite"),
    "doubles beyond float32": Case(written("1e300.wav", 1e300 * WAVE.astype(float), subtype="DOUBLE"),
                                   reason="NaN or infinite"),
    "floats of 1e30": Case(written("1e30.wav", 1e30 * WAVE, subtype="FLOAT"), reason="beyond 32-bit full scale"),
    "FLAC that says 50 days": Case(changed(written("days.flac"), flac_says(2**36 - 1)), reason="cut off", early=True),
    "WAV that says 2 GB": Case(changed(written("huge.wav"), wav_says(40, 0x7FFE0000)), reason="cut off or damaged"),
    "no channel": Case(changed(written("c0.wav"), wav_says(22, 0, 2)), reason=CUT),
    "65 535 channels": Case(changed(written("c65535.wav"), wav_says(22, 65_535, 2)), reason=CUT),
    "0 Hz": Case(changed(written("0hz.wav"), wav_says(24, 0)), reason=NOT_AUDIO),
    "1 Hz": Case(changed(written("1hz.wav"), wav_says(24, 1)), reason=" 1 Hz"),
    "2 GHz": Case(changed(written("2ghz.wav"), wav_says(24, 2_000_000_000)), reason=" 2000000000 Hz"),
    "absent": Case(lambda folder: folder / "absent.flac", reason="no such file"),
    "below a file": Case(lambda folder: written("file.wav")(folder) / "a.wav", reason="Not a directory"),
    "a dangling link": Case(linked("dangling.flac", "nowhere.flac"), reason="a link to no such file"),
    "a link to itself": Case(linked("loop.flac", "loop.flac"), reason="symbolic links"),
    "a link to a device": Case(linked("device.wav", "/dev/zero"), reason="not a file but a pipe, a socket or a device"),
    "a named pipe": Case(pipe, reason="not a file but a pipe"),
    "a socket": Case(listening, reason="not a file but a pipe, a socket"),
    "a folder": Case(folder_named("folder.flac"), reason="a folder"),
    "a name that is too long": Case(lambda folder: folder / ("x" * 300 + ".wav"), reason="name too long"),
    "a NUL in the name": Case(lambda folder: folder / "a\0b.wav", reason="null"),
    "a name that is not UTF-8": Case(not_utf8, reason="UTF-8"),
}  # fmt: skip
