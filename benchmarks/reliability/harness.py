"""Kill every long-running command of the library many times, and write the results into docs/reliability.md.

    nice python -m benchmarks.reliability --keep records/reliability.jsonl --table docs/reliability.md
    nice python -m benchmarks.reliability --keep kept.jsonl --only train score --kills 5

The commands work on a toy project in a temporary folder: real code and real files, a tiny random wav2vec 2.0 and clips of
noise and tones. The times of the kills are drawn with a seed. The last line is JSON. The exit code is 1 if a result was lost or
changed, or if temporary files or processes were left.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from aasist_lib.runtime.files import atomic
from benchmarks.reliability.faults import FAULTS, FaultTally, try_faults
from benchmarks.reliability.kills import Tally, try_command
from benchmarks.reliability.project import NAMES, make_project

MARKS = ("<!-- made by python -m benchmarks.reliability -->", "<!-- end of what it made -->")


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20, help="number of kills per command (default 20)")
    parser.add_argument("--signals", type=int, default=20, help="SIGINT and SIGTERM per command, in turn (default 20)")
    parser.add_argument("--only", nargs="+", default=[], choices=NAMES, help="commands to test, e.g. train score")
    parser.add_argument("--typed", type=int, default=5, help="start a new interpreter in every n-th try (default 5)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--no-faults", action="store_true", help="only test kills and signals")
    parser.add_argument(
        "--keep",
        type=Path,
        required=True,
        metavar="FILE",
        help="results are appended, one JSON object per line; the tables show all results in FILE",
    )
    parser.add_argument("--table", type=Path, help="document with two markers, between which the tables are written")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="reliability-") as folder:
        blows = options.kills or options.signals
        for command in make_project(Path(folder)) if blows or not options.no_faults else ():  # only the table
            if options.only and command.name not in options.only:
                continue
            print(command.name, file=sys.stderr, flush=True)
            if blows:
                rng = np.random.default_rng(options.seed)
                _keep(options.keep, [try_command(command, options.kills, rng, options.typed, options.signals)])
            if not options.no_faults:
                _keep(options.keep, try_faults(command))
    kills, faults = read_tallies(options.keep)
    if options.table:
        write_table(options.table, f"{kill_table(kills)}\n\n{fault_table(faults)}")
    print(json.dumps({"benchmark": "reliability", "seed": options.seed, "kills": len(kills), "faults": len(faults)}))
    lost = [tally for tally in kills if tally.lost or tally.left or tally.orphans]
    lost += [tally for tally in faults if tally.left or not tally.equal]
    print("\n".join(map(str, lost)), file=sys.stderr)
    sys.exit(1 if lost else 0)


def _keep(file: Path, tallies: Sequence[Tally | FaultTally]) -> None:
    with file.open("a", encoding="utf-8") as kept:
        kept.writelines(json.dumps(asdict(tally)) + "\n" for tally in tallies)


def read_tallies(file: Path) -> tuple[list[Tally], list[FaultTally]]:
    """Read the last tally of each command, and of each fault and command, from a file with one JSON object per line."""
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    kills = {line["command"]: Tally(**line) for line in lines if "kills" in line}
    faults = {(line["fault"], line["command"]): FaultTally(**line) for line in lines if "fault" in line}
    order = sorted(faults, key=lambda key: (list(FAULTS).index(key[0]), NAMES.index(key[1])))
    return [kills[name] for name in NAMES if name in kills], [faults[key] for key in order]


def kill_table(tallies: Sequence[Tally]) -> str:
    """Return the results of kills and signals as a Markdown table."""
    heads = (
        "command", "artefacts compared", "killed (in a write)", "SIGINT, SIGTERM", "slowest stop",
        "ran to the end", "equal to the undisturbed run", "left behind", "processes left",
    )  # fmt: skip
    rows = [
        (f"`{each.command}`", each.artefacts, f"{each.kills} ({each.in_a_write})", each.signals, f"{each.slowest_stop} s",
         each.ends, f"{each.equal} of {each.ends}", len(each.left), each.orphans)
        for each in tallies
    ]  # fmt: skip
    return _table(heads, rows)


def fault_table(tallies: Sequence[FaultTally]) -> str:
    """Return the provoked faults, the command's messages and the results as a Markdown table."""
    heads = ("fault", "command", "exit code", "what it says", "afterwards the same command's results are")
    rows = [
        (each.fault, f"`{each.command}`", each.code, each.said.replace("|", "\\|"), "equal" if each.equal else "DIFFERENT")
        for each in tallies
    ]
    return _table(heads, rows)


def _table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    return "\n".join(lines + ["| " + " | ".join(map(str, row)) + " |" for row in rows])


def write_table(document: Path, tables: str) -> None:
    """Write the tables between the document's markers.

    Raises:
        SystemExit: a marker is missing, or they are in the wrong order.
    """
    before, mark, rest = document.read_text(encoding="utf-8").partition(MARKS[0])
    _, end, after = rest.partition(MARKS[1])
    if not (mark and end):
        raise SystemExit(f"{document}: add the lines '{MARKS[0]}' and '{MARKS[1]}' around the place of the tables")
    with atomic(document) as file:
        file.write_text(f"{before}{mark}\n\n{tables}\n\n{end}{after}", encoding="utf-8")
