"""Check the licences of all dependencies, and write the list in records/licences.md.

    python tools/list_licences.py --write  write records/licences.md
    python tools/list_licences.py          fail if it is out of date, or a licence is unknown or not allowed

The project is under the MIT licence. It may import packages with permissive licences, and with licences that only cover the
library's own files (MPL, LGPL). The GPL would also cover the project. A package under the GPL is allowed only as an individual
exception, if the project runs it as a separate program.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = Path("records/licences.md")

ALLOWED = set(
    "0BSD Apache-2.0 BSD BSD-2-Clause BSD-3-Clause BSL-1.0 CC0-1.0 CNRI-Python ISC MIT MIT-0 MIT-CMU PSF-2.0 Zlib "
    "MPL-2.0 LGPL-2.0-or-later LGPL-2.1-or-later".split()
)
PROGRAM = "GPL, run as a program of its own (`demo_corpus/gpl_worker.py`), never imported; extra `demo` only"
EXCEPTIONS = {"espeakng-loader": PROGRAM, "piper-tts": PROGRAM, "praat-parselmouth": PROGRAM}

# Licence text in package metadata (lower case) -> SPDX name.
NAMES = {
    "3-clause bsd license": "BSD-3-Clause",
    "apache": "Apache-2.0",
    "apache 2.0": "Apache-2.0",
    "apache 2.0 license": "Apache-2.0",
    "apache license, version 2.0": "Apache-2.0",
    "apache software license": "Apache-2.0",
    "bsd 2-clause license": "BSD-2-Clause",
    "bsd 3-clause license": "BSD-3-Clause",
    "bsd license": "BSD",
    "gnu general public license v3 or later (gplv3+)": "GPL-3.0-or-later",
    "gnu lesser general public license v2 or later (lgplv2+)": "LGPL-2.0-or-later",
    "gplv3": "GPL-3.0-or-later",
    "isc license": "ISC",
    "isc license (iscl)": "ISC",
    "mit license": "MIT",
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
    "psfl": "PSF-2.0",
    "python software foundation license": "PSF-2.0",
}
# Packages whose metadata names no licence or quotes the full licence text. These entries come from the package files or source.
READ_BY_HAND = {
    "espeakng-loader": "GPL-3.0-or-later",  # licence of the bundled eSpeak NG library
    "pyroomacoustics": "MIT",
    "pyworld-prebuilt": "MIT",
}

INTRODUCTION = """# Licences of the dependencies

The project is under the MIT licence. This is every package of `requirements.txt`, with the licence that its metadata states
(BSD without a number: it does not state which BSD). `python tools/list_licences.py --write` wrote it; `make check` fails when
it is out of date, or when a licence is not one of those that the script allows. A GPU build of torch adds NVIDIA's own
libraries, under NVIDIA's terms. Libraries inside a package's wheel (FFmpeg in av) may have licences of their own, which its
metadata does not state. Data and encoder weights: [the data card](../data/README.md).

"""


class LicenceError(Exception):
    """A licence is unknown or not allowed; the message names the package and says how to fix it."""


def pins(root: Path) -> dict[str, str]:
    """Return package name -> version from requirements.txt."""
    lines = (root / "requirements.txt").read_text(encoding="utf-8").splitlines()
    return dict(line.strip().split("==") for line in lines if "==" in line and not line.startswith("#"))


def licence(name: str) -> str:
    """Return the SPDX expression of an installed package's licence.

    Raises: LicenceError if its metadata names no known licence; PackageNotFoundError."""
    about = metadata.metadata(name)
    if name in READ_BY_HAND:
        return READ_BY_HAND[name]
    for text in _stated(about):
        spdx = NAMES.get(text.lower(), text)
        if all(term in ALLOWED or term.startswith("GPL-") for term in _terms(spdx)):
            return spdx
    stated = "; ".join(_stated(about)) or "nothing"
    raise LicenceError(
        f"{name}: unknown licence {stated!r} in its metadata: read the licence, then extend tools/list_licences.py"
    )


def _stated(about: metadata.PackageMetadata) -> Iterator[str]:
    """Yield the licences stated in the metadata, the most exact one first."""
    kinds = [text.split(" :: ")[-1] for text in about.get_all("Classifier", []) if text.startswith("License ::")]
    yield from filter(None, [about.get("License-Expression"), *about.get("License", "").strip().splitlines()[:1], *kinds])


def _terms(expression: str) -> list[str]:
    """Return the licences in an SPDX expression; exceptions after WITH are ignored, because they only add permissions."""
    return re.split(r"\s+(?:AND|OR)\s+", re.sub(r"\s+WITH\s+\S+|[()]", "", expression))


def allowed(name: str, expression: str) -> bool:
    """Return whether a package with this licence may be used: one alternative (OR) must have only allowed terms."""
    return name in EXCEPTIONS or any(set(_terms(part)) <= ALLOWED for part in re.split(r"\s+OR\s+", expression))


def page(licences: dict[str, str], versions: dict[str, str]) -> str:
    """Return the text of records/licences.md."""
    rows = []
    for name in sorted(versions, key=str.lower):
        note = EXCEPTIONS.get(name, "")
        rows.append(f"| {name} | {versions[name]} | {licences[name]} | {note} |")
    return INTRODUCTION + "\n".join(["| package | version | licence | remark |", "|---|---|---|---|", *rows, ""])


def problems(root: Path) -> Iterator[str]:
    """Yield every problem as a sentence."""
    versions, licences = pins(root), {}
    for name in versions:
        try:
            licences[name] = licence(name)
        except metadata.PackageNotFoundError:
            yield f"{name} is in requirements.txt but not installed: run make setup"
            return
        except LicenceError as error:
            yield str(error)
            return
        if not allowed(name, licences[name]):
            yield f"{name}: the licence {licences[name]} is not allowed (tools/list_licences.py lists the allowed ones)"
    file = root / PAGE
    if not file.is_file() or file.read_text(encoding="utf-8") != page(licences, versions):
        yield f"{PAGE} is out of date: run python tools/list_licences.py --write"


def write(root: Path) -> None:
    """Write records/licences.md atomically.

    Raises: LicenceError, PackageNotFoundError."""
    versions = pins(root)
    temporary = root / f"{PAGE}.tmp"
    temporary.write_text(page({name: licence(name) for name in versions}, versions), encoding="utf-8")
    os.replace(temporary, root / PAGE)


def main() -> int:
    """Check the licences, with --write after writing the list; return 1 if there is a problem."""
    parser = argparse.ArgumentParser(description="Check the licences of all dependencies against records/licences.md.")
    parser.add_argument("--write", action="store_true", help="write records/licences.md first")
    if parser.parse_args().write:
        write(ROOT)
    found = list(problems(ROOT))
    print("\n".join(found) if found else f"licences: {len(pins(ROOT))} packages, all allowed, {PAGE} is up to date")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
