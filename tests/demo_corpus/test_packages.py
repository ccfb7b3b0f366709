import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from demo_corpus import packages, sources
from demo_corpus.packages import SourceError, unpack


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
    with pytest.raises(SourceError, match=r"apt-get.*--bonafide DIR.*--bonafide librispeech"):
        unpack(["small-sounds"], tmp_path)


def test_a_damaged_package_is_named(tmp_path):
    (tmp_path / "small-sounds_1_all.deb").write_bytes(b"!<arch>\n")
    with pytest.raises(SourceError, match=r"small-sounds_1_all\.deb: .*delete"):
        unpack(["small-sounds"], tmp_path)
    assert not (tmp_path / "unpacked" / "small-sounds").exists()


def test_a_failing_apt_is_an_error_with_its_last_words(tmp_path, monkeypatch):
    monkeypatch.setattr(packages.shutil, "which", lambda tool: tool)
    failed = subprocess.CompletedProcess([], 100, "", "W: noise\nE: Unable to locate package small-sounds\n")
    monkeypatch.setattr(packages.subprocess, "run", lambda *a, **k: failed)
    with pytest.raises(SourceError, match=r"`apt-get update` .*\(100\): .*locate package.*--bonafide DIR"):
        unpack(["small-sounds"], tmp_path)
    assert not list(tmp_path.glob("*.deb"))


APT = """#!{python}
import json, os, pathlib, shutil, sys

state = pathlib.Path.cwd()
found = {{str(path.relative_to(state)): path.is_dir() for path in state.rglob("*")}}
note = {{"arguments": sys.argv[1:], "state": str(state), "found": found, "LC_ALL": os.environ.get("LC_ALL")}}
with open("{folder}/asked", "a") as file:
    file.write(json.dumps(note) + "\\n")
print("Reading 99 lists")
if "--print-uris" in sys.argv:
    print("'file:///x/a_1_all.deb' a_1_all.deb 1400000 SHA256:0")
    print("'file:///x/b%2b_1_all.deb' b+_1_all.deb 1200000 SHA256:0")
elif sys.argv[1] == "download":
    for package in pathlib.Path("{folder}/server").iterdir():
        shutil.copy(package, state)
"""


@pytest.fixture
def server(tmp_path, package, monkeypatch):
    """An apt-get that notes what it is asked for, and serves the packages of this folder."""
    folder = tmp_path / "bin"
    (folder / "server").mkdir(parents=True)
    (folder / "apt-get").write_text(APT.format(python=sys.executable, folder=folder))
    (folder / "apt-get").chmod(0o755)
    shutil.move(package / "small-sounds_1_all.deb", folder / "server")
    shutil.copy(folder / "server" / "small-sounds_1_all.deb", folder / "server" / "more-sounds_1_all.deb")
    package.rmdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    return folder / "server"


def asked(server: Path) -> list[dict]:
    return [json.loads(line) for line in (server.parent / "asked").read_text().splitlines()]


def test_what_is_missing_is_asked_of_apt_and_unpacked(tmp_path, server):
    said: list[str] = []
    downloads = tmp_path / "data" / "downloads"
    folders = unpack(["small-sounds", "more-sounds"], downloads, said.append)
    assert folders == {name: downloads / "unpacked" / name for name in ("small-sounds", "more-sounds")}
    assert all((folder / "usr/share/hello.txt").read_text() == "hello" for folder in folders.values())
    assert said == [
        "apt: reading the package lists for 2 packages",
        "apt: downloading 2 packages, 3 MB: small-sounds, more-sounds",
    ]
    packages = ["more-sounds_1_all.deb", "small-sounds_1_all.deb"]
    assert sorted(path.name for path in downloads.iterdir()) == [*packages, "unpacked"]
    assert sorted(path.name for path in (downloads / "unpacked").iterdir()) == ["more-sounds", "small-sounds"]


def test_only_packages_that_are_not_there_are_asked_for(tmp_path, server):
    downloads = tmp_path / "downloads"
    downloads.mkdir()
    shutil.move(server / "small-sounds_1_all.deb", downloads)
    unpack(["small-sounds", "more-sounds"], downloads, lambda line: None)
    assert [note["arguments"][-1] for note in asked(server)][1:] == ["more-sounds"] * 2
    assert not any("small-sounds" in note["arguments"] for note in asked(server))


def test_apt_works_in_folders_of_its_own_and_takes_nothing_unsigned(tmp_path, server):
    downloads = tmp_path / "downloads"
    unpack(["small-sounds"], downloads, lambda line: None)
    notes = asked(server)
    state = Path(notes[0]["state"])
    assert state.parent == downloads and state.name.startswith(".apt-") and not state.exists()
    own = {
        "Dir::State": state,
        "Dir::State::lists": state / "lists",
        "Dir::State::status": state / "status",
        "Dir::Cache": state / "cache",
    }
    strict = {"Acquire::AllowInsecureRepositories": "false", "APT::Get::AllowUnauthenticated": "false"}
    frugal = {"Acquire::Languages": "none", "APT::Sandbox::User": "", "Acquire::Retries": 3}
    options = {f"-o{key}={value}" for key, value in (own | strict | frugal).items()} | {"-q"}
    expected = [["update"], ["download", "--print-uris", "small-sounds"], ["download", "small-sounds"]]
    for note, plain in zip(notes, expected, strict=True):
        assert note["state"] == str(state) and note["LC_ALL"] == "C"  # messages in English: they are read
        assert [word for word in note["arguments"] if word not in options] == plain
        assert options <= set(note["arguments"])
    folders = {"lists": True, "lists/partial": True, "cache": True, "cache/archives": True, "cache/archives/partial": True}
    assert notes[0]["found"] == folders | {"status": False}


def test_a_package_that_apt_did_not_bring_is_named(tmp_path, server):
    shutil.rmtree(server)
    server.mkdir()
    with pytest.raises(SourceError) as error:
        unpack(["small-sounds"], tmp_path / "downloads", lambda line: None)
    assert str(error.value).startswith(f"{tmp_path / 'downloads'}: ") and " small-sounds_*.deb" in str(error.value)
    assert packages.ALTERNATIVES in str(error.value)


def test_without_dpkg_deb_nothing_is_downloaded(tmp_path, server, monkeypatch):
    monkeypatch.setattr(packages.shutil, "which", lambda tool: None if tool == "dpkg-deb" else tool)
    with pytest.raises(SourceError, match="dpkg-deb "):
        unpack(["small-sounds"], tmp_path / "downloads")
    assert not (server.parent / "asked").exists() and not (tmp_path / "downloads").exists()


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("W: a\nE: b\nN: c\nE: d\nW: e\n", "E: b | E: d"),
        ("one\ntwo\nthree\nfour\n", "two | three | four"),
        ("only\n", "only"),
    ],
)
def test_of_what_a_failing_apt_said_its_errors_are_told_or_else_its_last_lines(tmp_path, server, said, told):
    failing = f"#!{sys.executable}\nimport sys\nprint('noise')\nprint({said!r}, file=sys.stderr, end='')\nsys.exit(7)\n"
    (server.parent / "apt-get").write_text(failing)
    with pytest.raises(SourceError) as error:
        unpack(["small-sounds"], tmp_path / "downloads", lambda line: None)
    assert str(error.value).endswith(f" (7): {told}. {packages.ALTERNATIVES}") and "`apt-get update`" in str(error.value)
    assert list((tmp_path / "downloads").iterdir()) == []


def test_a_damaged_package_is_told_with_the_words_of_dpkg_deb(tmp_path):
    archive = tmp_path / "small-sounds_1_all.deb"
    archive.write_bytes(b"!<arch>\n")
    words = subprocess.run(["dpkg-deb", "-x", archive, tmp_path / "x"], capture_output=True, text=True).stderr.strip()
    with pytest.raises(SourceError) as error:
        unpack(["small-sounds"], tmp_path)
    assert str(error.value).startswith(f"{archive}: ") and f"({words})" in str(error.value)
    assert words and list((tmp_path / "unpacked").iterdir()) == []


def test_unpacking_is_done_beside_its_place_so_that_a_part_never_counts(package, monkeypatch):
    """In a hidden folder of the same disk, where a rename puts it all in place at once."""
    real, seen = subprocess.run, []

    def run(command, **options):
        seen.append(Path(command[-1]))
        assert not (package / "unpacked" / "small-sounds").exists()
        return real(command, **options)

    monkeypatch.setattr(packages.subprocess, "run", run)
    unpack(["small-sounds"], package)
    assert seen[0].parents[1] == package / "unpacked" and seen[0].parent.name.startswith(".small-sounds-")


def test_of_two_versions_the_later_is_taken(package, no_apt):
    (package / "small-sounds_0_all.deb").write_bytes(b"not a package")
    (package / "small-sounds-more_9_all.deb").write_bytes(b"another package")
    assert (unpack(["small-sounds"], package)["small-sounds"] / "usr/share/hello.txt").is_file()


def test_librispeech_says_what_else_to_use_when_it_cannot_be_had(tmp_path, monkeypatch):
    import torchaudio.datasets

    def refuse(*args, **kwargs):
        raise RuntimeError("no network")

    monkeypatch.setattr(torchaudio.datasets, "LIBRISPEECH", refuse)
    with pytest.raises(SourceError, match=r"\(no network\).*debian.*--bonafide DIR"):
        sources.collect("librispeech", False, tmp_path, 1, say=lambda line: None)
