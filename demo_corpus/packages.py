"""Download Debian packages without root: with apt in private state directories, unpacked with dpkg-deb.

The machine's package sources and keys are used. The machine's package state is neither read nor changed. apt checks the
signature of the package lists, and the hash of every package against the lists. Unsigned lists are rejected, even if the
machine's settings would allow them.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from aasist_lib.errors import AasistError

_SIZE = re.compile(r"^'[^']+' \S+ (\d+)", re.MULTILINE)


class SourceError(AasistError, RuntimeError):
    """The recordings cannot be obtained; the message gives the reason and the alternatives."""


ALTERNATIVES = (
    "Alternatives: `--bonafide DIR` (any folder of recordings with one sub-folder per speaker) or "
    "`--bonafide librispeech` (LibriSpeech dev-clean through torchaudio, 340 MB)."
)


def unpack(names: Sequence[str], downloads: Path, say: Callable[[str], None] = print) -> dict[str, Path]:
    """Return the folder with each package's files; missing packages are downloaded and unpacked.

    Args:
        names: package names.
        downloads: folder for `.deb` files and unpacked packages; existing ones are reused.
        say: called with what is downloaded, and its size.

    Raises:
        SourceError: apt-get is missing, a download failed, or a package is damaged.
    """
    folders = {name: downloads / "unpacked" / name for name in names}
    wanted = [name for name, folder in folders.items() if not folder.is_dir()]
    missing = [name for name in wanted if _archive(name, downloads) is None]
    if missing:
        _download(missing, downloads, say)
    for name in wanted:
        archive = _archive(name, downloads)
        if archive is None:
            raise SourceError(f"{downloads}: apt-get did not download {name}_*.deb. {ALTERNATIVES}")
        _extract(archive, folders[name])
    return folders


def _archive(name: str, downloads: Path) -> Path | None:
    return max(downloads.glob(f"{name}_*.deb"), default=None)


def _download(names: Sequence[str], downloads: Path, say: Callable[[str], None]) -> None:
    for tool in ("apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise SourceError(f"the recordings come from Debian packages, but {tool} is not installed. {ALTERNATIVES}")
    downloads.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".apt-", dir=downloads) as state:
        options = _private_state(Path(state))
        say(f"apt: reading the package lists for {len(names)} packages")
        _apt(["update", *options], state)
        sizes = _SIZE.findall(_apt(["download", "--print-uris", *options, *names], state))
        say(f"apt: downloading {len(names)} packages, {sum(map(int, sizes)) / 1e6:.0f} MB: {', '.join(names)}")
        _apt(["download", *options, *names], state)
        for file in sorted(Path(state).glob("*.deb")):
            os.replace(file, downloads / file.name)


def _private_state(state: Path) -> list[str]:
    for folder in ("lists/partial", "cache/archives/partial"):
        (state / folder).mkdir(parents=True)
    (state / "status").touch()
    settings = {
        "Dir::State": state,
        "Dir::State::lists": state / "lists",
        "Dir::State::status": state / "status",
        "Dir::Cache": state / "cache",
        "Acquire::Languages": "none",
        "APT::Sandbox::User": "",
        "Acquire::Retries": 3,
        "Acquire::AllowInsecureRepositories": "false",
        "APT::Get::AllowUnauthenticated": "false",
    }
    return ["-q", *(f"-o{key}={value}" for key, value in settings.items())]


def _apt(arguments: list[str], folder: str) -> str:
    plain = {**os.environ, "LC_ALL": "C"}
    command = ["apt-get", *arguments]  # found through PATH, because its location differs between distributions
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=plain)
    if done.returncode:
        said = done.stderr.strip().splitlines()
        last = " | ".join([line for line in said if line.startswith("E:")] or said[-3:])
        raise SourceError(f"`apt-get {arguments[0]}` failed ({done.returncode}): {last}. {ALTERNATIVES}")
    return done.stdout


def _extract(archive: Path, folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as temporary:
        target = Path(temporary) / "files"
        command = ["dpkg-deb", "-x", str(archive), str(target)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise SourceError(f"{archive}: damaged package ({done.stderr.strip()}); delete it and rerun the command")
        os.replace(target, folder)
