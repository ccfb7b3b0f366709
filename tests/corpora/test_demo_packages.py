import subprocess
from pathlib import Path

import pytest

from aasist_lib.corpora.demo import packages, sources
from aasist_lib.corpora.demo.packages import SourceError, unpack


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A folder of downloads with one small package in it."""
    tree = tmp_path / "tree"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN" / "control").write_text(
        "Package: small-sounds\nVersion: 1\nArchitecture: all\nMaintainer: A <a@b.c>\nDescription: test\n"
    )
    (tree / "usr" / "share").mkdir(parents=True)
    (tree / "usr" / "share" / "hello.txt").write_text("hello")
    downloads = tmp_path / "downloads"
    downloads.mkdir()
    subprocess.run(["dpkg-deb", "-b", tree, downloads / "small-sounds_1_all.deb"], check=True, capture_output=True)
    return downloads


@pytest.fixture
def no_apt(monkeypatch):
    monkeypatch.setattr(packages.shutil, "which", lambda tool: None)


def test_what_is_there_is_unpacked_without_apt_and_kept(package, no_apt):
    folder = unpack(["small-sounds"], package)["small-sounds"]
    assert (folder / "usr/share/hello.txt").read_text() == "hello"
    (package / "small-sounds_1_all.deb").unlink()
    assert unpack(["small-sounds"], package)["small-sounds"] == folder
    assert [path.name for path in (package / "unpacked").iterdir()] == ["small-sounds"]


def test_without_apt_the_error_names_both_alternatives(tmp_path, no_apt):
    with pytest.raises(SourceError, match=r"no apt-get here.*--bonafide DIR.*--bonafide librispeech"):
        unpack(["small-sounds"], tmp_path)


def test_a_damaged_package_is_named(tmp_path):
    (tmp_path / "small-sounds_1_all.deb").write_bytes(b"!<arch>\n")
    with pytest.raises(SourceError, match=r"small-sounds_1_all\.deb: damaged package .* delete it"):
        unpack(["small-sounds"], tmp_path)
    assert not (tmp_path / "unpacked" / "small-sounds").exists()


def test_a_failing_apt_is_an_error_with_its_last_words(tmp_path, monkeypatch):
    monkeypatch.setattr(packages.shutil, "which", lambda tool: tool)
    failed = subprocess.CompletedProcess([], 100, "", "W: noise\nE: Unable to locate package small-sounds\n")
    monkeypatch.setattr(packages.subprocess, "run", lambda *a, **k: failed)
    with pytest.raises(SourceError, match=r"`apt-get update` failed \(100\): .*locate package.*--bonafide DIR"):
        unpack(["small-sounds"], tmp_path)
    assert not list(tmp_path.glob("*.deb"))


def test_librispeech_says_what_else_to_use_when_it_cannot_be_had(tmp_path, monkeypatch):
    import torchaudio.datasets

    def refuse(*args, **kwargs):
        raise RuntimeError("no network")

    monkeypatch.setattr(torchaudio.datasets, "LIBRISPEECH", refuse)
    with pytest.raises(SourceError, match=r"cannot be downloaded \(no network\).*debian.*--bonafide DIR"):
        sources.collect("librispeech", False, tmp_path, 1, say=lambda line: None)
