"""Set up everything the project needs on this machine.

    python3 tools/setup_environment.py            the environment .venv and the demo's encoder
    python3 tools/setup_environment.py --no-encoder

This script uses only the standard library. After a successful set-up it writes a stamp file in .venv. If the stamp is current,
the script skips the set-up.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

OLDEST = (3, 11)
ROOT = Path(__file__).resolve().parent.parent
STAMP = "setup.json"
INPUTS = ("requirements.txt", "pyproject.toml", "tools/repair_torchaudio.py")
UNITS = {"kB": 1e-3, "MB": 1.0, "GB": 1e3}


class SetupError(Exception):
    """Set-up cannot continue; the message says how to fix it."""


def say(text: str) -> None:
    """Print one line of progress."""
    print(f"setup: {text}", flush=True)


def fingerprint(root: Path) -> str:
    """Return a hash of everything the environment is made from, including the Python version."""
    digest = hashlib.sha256(f"{sys.version_info[:2]} {root}".encode())
    for name in INPUTS:
        digest.update((root / name).read_bytes())
    return digest.hexdigest()


def is_current(root: Path, venv: Path) -> bool:
    """Return whether `venv` was set up from the present inputs and its interpreter still exists."""
    stamp = venv / STAMP
    if not stamp.is_file() or not python_of(venv).exists():
        return False
    try:
        return json.loads(stamp.read_text(encoding="utf-8"))["fingerprint"] == fingerprint(root)
    except (json.JSONDecodeError, KeyError):
        return False


def python_of(venv: Path) -> Path:
    """Return the path of the environment's interpreter."""
    return venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def check_machine() -> None:
    """Raise SetupError if this Python is too old or cannot create an environment, or if there is no C compiler."""
    version = ".".join(map(str, sys.version_info[:2]))
    if sys.version_info < OLDEST:
        wanted = ".".join(map(str, OLDEST))
        raise SetupError(f"Python {version} is too old, {wanted} or newer is needed: run make setup PYTHON=python{wanted}")
    probe = subprocess.run([sys.executable, "-c", "import ensurepip, venv"], capture_output=True, text=True)
    if probe.returncode:
        hint = f"on Debian or Ubuntu, run apt-get install python{version}-venv"
        raise SetupError(f"this Python cannot create virtual environments; {hint}")
    if not any(map(shutil.which, ("cc", "gcc", "clang"))):
        raise SetupError(
            "no C compiler found, but pysptk is compiled during installation; on Debian or Ubuntu, run "
            f"apt-get install build-essential python{version}-dev"
        )


def make_venv(venv: Path) -> None:
    """Create the environment, or keep an existing one that works."""
    pip = [str(python_of(venv)), "-m", "pip", "--version"]
    if python_of(venv).exists() and subprocess.run(pip, capture_output=True).returncode == 0:
        return
    say(f"creating the environment {venv.name} with Python {sys.version.split()[0]}")
    run([sys.executable, "-m", "venv", "--clear", str(venv)])


def run(command: list[str]) -> None:
    """Run a command; its output is shown only if it fails."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise SetupError(f"{' '.join(command)} failed:\n{done.stdout.strip()}")


def install(root: Path, venv: Path) -> float:
    """Install the pinned packages and report large downloads as they start. Returns the number of megabytes downloaded."""
    log, total = venv / "setup.log", 0.0
    command = [str(python_of(venv)), "-m", "pip", "install", "--no-input", "--progress-bar", "off"]
    command += ["--disable-pip-version-check", "-r", str(root / "requirements.txt")]
    with log.open("w", encoding="utf-8") as stream:
        pip = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=root)
        for line in pip.stdout or ():
            stream.write(line)
            size = downloaded(line)
            total += size
            if size >= 10:
                say(f"downloading {line.split()[1]} ({size:.0f} MB)")
    if pip.wait():
        tail = "\n".join(log.read_text(encoding="utf-8").splitlines()[-20:])
        raise SetupError(f"pip could not install requirements.txt (full output: {log}):\n{tail}")
    return total


def downloaded(line: str) -> float:
    """Return the megabytes in pip's line 'Downloading name.whl (12.3 MB)', 0 for any other line."""
    found = re.match(r"\s*Downloading \S+ \((?:\S+/)?([\d.]+) (kB|MB|GB)\)", line)
    return float(found[1]) * UNITS[found[2]] if found else 0.0


def set_up(root: Path, venv: Path) -> None:
    """Update the environment to match requirements.txt and pyproject.toml."""
    if is_current(root, venv):
        return
    check_machine()
    start = time.monotonic()
    (venv / STAMP).unlink(missing_ok=True)
    make_venv(venv)
    count = sum(1 for line in (root / "requirements.txt").read_text().splitlines() if "==" in line)
    say(f"installing {count} packages from requirements.txt: up to 1 GB to download, 2.2 GB on disk")
    say("this takes a few minutes; a GPU build of torch needs several GB and more time")
    megabytes = install(root, venv)
    python = str(python_of(venv))
    run([python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "-e", str(root)])
    repaired = subprocess.run([python, str(root / "tools/repair_torchaudio.py")], capture_output=True, text=True)
    if repaired.returncode:
        raise SetupError(repaired.stderr.strip())
    say(repaired.stdout.strip())
    (venv / STAMP).write_text(json.dumps({"fingerprint": fingerprint(root)}), encoding="utf-8")
    say(f"environment ready in {time.monotonic() - start:.0f} s, {megabytes:.0f} MB downloaded")


def main() -> int:
    """Set up the environment, then download the demo's encoder unless --no-encoder is given."""
    parser = argparse.ArgumentParser(description="Set up the environment and the demo's encoder.")
    parser.add_argument("--no-encoder", action="store_true", help="do not download the demo's encoder")
    arguments = parser.parse_args()
    venv = ROOT / ".venv"
    try:
        set_up(ROOT, venv)
    except SetupError as error:
        print(f"setup: {error}", file=sys.stderr)
        return 1
    if arguments.no_encoder:
        return 0
    encoder = [str(python_of(venv)), "-m", "aasist_lib", "prepare", "demo", "--encoder-only"]
    return subprocess.run(encoder, cwd=ROOT).returncode


if __name__ == "__main__":
    sys.exit(main())
