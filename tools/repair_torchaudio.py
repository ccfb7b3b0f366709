"""Make torchaudio importable next to a CPU build of torch.

torchaudio's Linux wheel is linked against CUDA. With a CPU build of torch its import fails, and so does the import of
transformers. torchaudio's loader supports running without the compiled extension, so this script renames the extension. A
working installation is not changed. If torch is later replaced by a GPU build, the script restores the extension, provided it
works there.

    python tools/repair_torchaudio.py
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

ASIDE = ".cuda"
OTHER_CUDA = re.compile(
    r"lib(c10_cuda|torch_cuda|cud\w+|cublas\w*|nvrtc)[-\w.]*\.so\S*: cannot open shared object"
    r"|PyTorch and TorchAudio were compiled with different CUDA versions"
)
CHECK = "import torchaudio; from transformers import Wav2Vec2Model"


class RepairError(Exception):
    """torchaudio does not work, for a reason that this script cannot repair."""


def import_error() -> str:
    """Import torchaudio and transformers in a new process; return the error output, or '' if the import works."""
    done = subprocess.run([sys.executable, "-c", CHECK], capture_output=True, text=True)
    return done.stderr.strip() if done.returncode else ""


def repair(libraries: Path, cuda: bool, error: Callable[[], str] = import_error) -> str:
    """Rename the extension in `libraries`, or restore it, if needed; return a sentence that says what was done.

    Args:
        libraries: the installed `torchaudio/lib` folder.
        cuda: whether torch is a GPU build.
        error: returns why the import fails; '' means that it works.

    Raises:
        RepairError: the import fails for another reason, or still fails afterwards.
    """
    aside = sorted(libraries.glob(f"*.so{ASIDE}"))
    if cuda and aside:
        returned = [file.replace(file.with_name(file.name[: -len(ASIDE)])) for file in aside]
        if not error():
            return f"torch is a GPU build: restored {len(returned)} torchaudio libraries"
    reason = error()
    if not reason:
        return "torchaudio works: nothing to repair"
    present = sorted(libraries.glob("*.so"))
    if not present or not OTHER_CUDA.search(reason):
        raise RepairError(f"torchaudio cannot be imported, for a reason other than its CUDA libraries:\n{reason}")
    for file in present:
        file.replace(file.with_name(file.name + ASIDE))
    kind = "GPU build for another CUDA" if cuda else "CPU build"
    names = ", ".join(file.name for file in present)
    done = f"torch is a {kind} but torchaudio is linked against CUDA: renamed {names} to *{ASIDE}"
    if reason := error():
        raise RepairError(f"{done}; the import still fails:\n{reason}")
    return done


def main() -> int:
    """Repair the torchaudio installation of the running interpreter."""
    spec = find_spec("torchaudio")
    if spec is None or spec.origin is None:
        print("torchaudio is not installed: run pip install -r requirements.txt", file=sys.stderr)
        return 1
    import torch

    try:
        print(repair(Path(spec.origin).parent / "lib", bool(torch.version.cuda or torch.version.hip)))
    except RepairError as problem:
        print(problem, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
