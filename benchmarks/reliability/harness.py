"""Kills every long command of the library over and over, and writes what came of it into docs/reliability.md.

    nice python -m benchmarks.reliability --keep records/reliability.jsonl --table docs/reliability.md
    nice python -m benchmarks.reliability --keep kept.jsonl --only train score --kills 5

The commands work on a toy project in a temporary folder: real code and real files, a tiny random wav2vec 2.0 and clips of
noise and tones. Moments are drawn from a seed. One JSON line comes last; the exit code is 1 where anything was lost.
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
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20, help="of each command (default 20)")
    parser.add_argument("--signals", type=int, default=20, help="SIGINT and SIGTERM to each, in turn (default 20)")
    parser.add_argument("--only", nargs="+", default=[], choices=NAMES, help="e.g. train score")
    parser.add_argument("--typed", type=int, default=5, help="every so many-th try starts a new interpreter (default 5)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--no-faults", action="store_true", help="kills and signals only")
    parser.add_argument(
        "--keep",
        type=Path,
        required=True,
        metavar="FILE",
        help="tallies are added, one JSON a line; the tables are of all in it",
    )
    parser.add_argument("--table", type=Path, help="a document with the two marks, between which the table goes")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="reliability-") as folder:
        blows = options.kills or options.signals
        for command in make_project(Path(folder)) if blows or not options.no_faults else ():  # else for the table alone
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
    """The last tally of each command, and of each fault and command, from a file with one JSON a line."""
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    kills = {line["command"]: Tally(**line) for line in lines if "kills" in line}
    faults = {(line["fault"], line["command"]): FaultTally(**line) for line in lines if "fault" in line}
    order = sorted(faults, key=lambda key: (list(FAULTS).index(key[0]), NAMES.index(key[1])))
    return [kills[name] for name in NAMES if name in kills], [faults[key] for key in order]


def kill_table(tallies: Sequence[Tally]) -> str:
    """What was killed and interrupted, and what came of it, as a table in Markdown."""
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
    """What was provoked, what the command said, and what came of it, as a table in Markdown."""
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
    """Put the tables between the document's marks.

    Raises:
        SystemExit: the marks are not there, once each and in order.
    """
    before, mark, rest = document.read_text(encoding="utf-8").partition(MARKS[0])
    _, end, after = rest.partition(MARKS[1])
    if not (mark and end):
        raise SystemExit(f"{document}: no lines '{MARKS[0]}' and '{MARKS[1]}' for the tables to go between")
    with atomic(document) as file:
        file.write_text(f"{before}{mark}\n\n{tables}\n\n{end}{after}", encoding="utf-8")
