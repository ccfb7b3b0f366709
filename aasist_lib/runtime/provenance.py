"""Facts about this clone and this machine that a run's manifest holds."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any


def provenance(root: Path) -> dict[str, Any]:
    """Everything below in one mapping: `git`, `device`, `python` and `packages`."""
    return {"git": git_state(root), "device": device(), "python": platform.python_version(), "packages": packages()}


def git_state(root: Path) -> dict[str, Any]:
    """The clone's commit and whether tracked files differ from it; both None outside a git clone."""
    git = shutil.which("git")
    if git is None:
        return {"commit": None, "dirty": None}
    answers = [
        subprocess.run([git, "-C", str(root), *args], capture_output=True, text=True)
        for args in (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
    ]
    if any(answer.returncode for answer in answers):
        return {"commit": None, "dirty": None}
    return {"commit": answers[0].stdout.strip(), "dirty": bool(answers[1].stdout.strip())}


def device() -> dict[str, Any]:
    """Processor, cores and NVIDIA GPUs of this machine, found without importing torch."""
    info = Path("/proc/cpuinfo")
    model = re.search(r"model name\s*:\s*(.+)", info.read_text()) if info.is_file() else None
    gpus: list[str] = []
    if smi := shutil.which("nvidia-smi"):
        answer = subprocess.run([smi, "--query-gpu=name", "--format=csv,noheader"], capture_output=True, text=True)
        gpus = answer.stdout.split("\n")[:-1] if answer.returncode == 0 else []
    return {"cpu": model.group(1) if model else platform.machine(), "cores": os.cpu_count(), "gpus": gpus}


def packages() -> dict[str, str]:
    """Every installed distribution and its version."""
    return dict(sorted((d.metadata["Name"], d.version) for d in metadata.distributions() if d.metadata["Name"]))
