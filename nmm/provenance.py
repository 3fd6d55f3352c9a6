"""Which source trains: the commit of this package, or a hash of its files. No torch here."""

import hashlib
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).resolve().parent


def code() -> dict[str, Any]:
    """The source of this process as it was when it first asked.

    `commit` and `clean`, whether the package's files are those of the commit; outside of git, or where they are not,
    `sources`, the hash of the files.
    """
    return dict(_code(PACKAGE))


@cache
def _code(package: Path) -> dict[str, Any]:
    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=package, check=True, capture_output=True, text=True).stdout.strip()

    try:
        git(
            "ls-files", "--error-unmatch", "__init__.py"
        )  # installed into another project's folder it is not that project's
        found = {"commit": git("rev-parse", "HEAD"), "clean": not git("status", "--porcelain", "--", ".")}
    except (OSError, subprocess.CalledProcessError):
        found = {}
    return found if found.get("clean") else {**found, "sources": _sources(package)}


def _sources(package: Path) -> str:
    """16 hex digits of the SHA-256 of names and contents of the package's Python files."""
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(package).as_posix()} {len(content)}\n".encode() + content)
    return digest.hexdigest()[:16]
