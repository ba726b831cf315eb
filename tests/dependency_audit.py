"""`python -m tests.dependency_audit LOCK…`: the locked dependencies against PyPI's list of known vulnerabilities.

pip-audit says "No known vulnerabilities found" where it could look nothing up, and fails where there is no network.
This says plainly what was not looked up, and fails for a vulnerability or a lock that is wrong, never for want of a
network.
"""

import json
import subprocess
import sys
from typing import Any

UNREACHABLE = (
    "ConnectionError",
    "ConnectTimeout",
    "ProxyError",
    "ReadTimeout",
    "SSLError",
    "Could not connect to PyPI",
)


def main(locks: list[str]) -> int:
    command = [sys.executable, "-m", "pip_audit", "--require-hashes", "--disable-pip", "--progress-spinner", "off"]
    requirements = [argument for lock in locks for argument in ("--requirement", lock)]
    done = subprocess.run([*command, "--format", "json", *requirements], capture_output=True, text=True)
    said, code = judged(done.stdout, done.stderr)
    sys.stdout.write(f"{said}\n")
    return code


def judged(report: str, errors: str) -> tuple[str, int]:
    """What to say, and the exit code, of pip-audit's report in JSON ("" where it broke off) and its error output."""
    if not report.strip():
        if any(word in errors for word in UNREACHABLE):
            return "NOT AUDITED: PyPI cannot be reached, so no dependency was looked up.", 0
        return f"pip-audit failed:\n{errors.strip()}", 1
    dependencies: list[dict[str, Any]] = json.loads(report)["dependencies"]
    looked_up = [dependency for dependency in dependencies if "skip_reason" not in dependency]
    known = [
        f"{dependency['name']} {dependency['version']}: {found['id']}, fixed in {found['fix_versions'] or 'no version'}"
        for dependency in looked_up
        for found in dependency["vulns"]
    ]
    said = [*known, f"Dependencies looked up on PyPI: {len(looked_up)}. Known vulnerabilities: {len(known)}."]
    if missing := len(dependencies) - len(looked_up):
        said.append(f"NOT AUDITED: {missing} of {len(dependencies)} dependencies, which PyPI did not tell of.")
    return "\n".join(said), 1 if known else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
