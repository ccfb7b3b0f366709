"""Check the pinned packages for known vulnerabilities with pip-audit.

    python tools/audit_dependencies.py

pip-audit queries the package index about each pin. If the index does not answer, pip-audit skips the package and still reports
"no known vulnerabilities". This script reports such packages as "NOT CHECKED". It does not fail for them, because an
unanswered query is no evidence of a vulnerability.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NO_ANSWER = ("ConnectionError", "Timeout", "ServiceError", "HTTPError", "ProxyError", "SSLError")
NOT_CHECKED = "!!! vulnerabilities: NOT CHECKED"
NO_SIGN = "the packages may have vulnerabilities"


class AuditError(Exception):
    """pip-audit itself failed; the message contains its output."""


def ask(requirements: Path) -> str:
    """Return pip-audit's report as JSON, or '' if its service cannot be reached.

    Raises: AuditError if pip-audit fails for another reason."""
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(requirements), "--no-deps", "--disable-pip"]
    command += ["--format", "json", "--progress-spinner", "off"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.stdout.strip():
        return done.stdout
    said = done.stderr.strip()
    if said and any(name in said.splitlines()[-1] for name in NO_ANSWER):
        return ""
    raise AuditError(f"pip-audit failed ({done.returncode}):\n{said}")


def verdict(report: str) -> tuple[int, str]:
    """Return exit status and message for a report of `ask`; the status is 1 only for a known vulnerability."""
    if not report:
        return 0, f"{NOT_CHECKED}: pip-audit cannot reach its service; {NO_SIGN}"
    packages = json.loads(report)["dependencies"]
    unknown = [package["name"] for package in packages if "skip_reason" in package]
    found = [line for package in packages for line in _lines(package)]
    known = len(packages) - len(unknown)
    if not known:
        return 0, f"{NOT_CHECKED}: the package index answered for none of {len(packages)} packages; {NO_SIGN}"
    gap = [f"{NOT_CHECKED}, because the index does not answer: {', '.join(unknown)}"] if unknown else []
    if found:
        return 1, "\n".join([*gap, *found, "update these pins in requirements.txt"])
    return 0, "\n".join([*gap, f"vulnerabilities: none known in {known} packages"])


def _lines(package: dict) -> list[str]:
    """Return one line for each vulnerability of a package."""
    lines = []
    for flaw in package.get("vulns", ()):
        fixed = ", ".join(flaw["fix_versions"]) or "no version yet"
        lines.append(f"{package['name']} {package['version']}: {flaw['id']}, fixed in {fixed}")
    return lines


def main() -> int:
    """Run the audit and print the result; return 1 for a known vulnerability or if pip-audit fails."""
    try:
        status, text = verdict(ask(ROOT / "requirements.txt"))
    except AuditError as error:
        status, text = 1, str(error)
    print(text)
    return status


if __name__ == "__main__":
    sys.exit(main())
