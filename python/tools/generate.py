"""Writes all generated files of the package, or checks them.

Use: generate.py [--check]

With --check nothing is written, and the exit status is 1 if a committed file differs.
"""

from __future__ import annotations

import filecmp
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import models
import unasync

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "python" / "src" / "cellhold"


def generate(package: Path) -> None:
    """Writes the generated files into a folder that has the asynchronous half."""
    models.write(ROOT / "api" / "openapi.yaml", package)
    unasync.write(package / "_async", package / "_sync")
    made = [package / "_operations.py", package / "models.py", package / "_sync"]
    config = ROOT / "python" / "pyproject.toml"
    for step in (["check", "--fix-only", "--quiet", "--select", "I,F401"], ["format", "--quiet"]):
        subprocess.run([sys.executable, "-m", "ruff", *step, "--no-cache", "--config", config, *made], check=True)


def differences(package: Path) -> list[str]:
    """Returns the generated files that differ from those in a folder."""
    files = {file.relative_to(folder) for folder in (package, PACKAGE) for file in folder.rglob("*.py")}
    return sorted(str(file) for file in files if not same(package / file, PACKAGE / file))


def same(one: Path, other: Path) -> bool:
    return one.exists() and other.exists() and filecmp.cmp(one, other, shallow=False)


def main() -> int:
    if sys.argv[1:] != ["--check"]:
        generate(PACKAGE)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / "cellhold"
        shutil.copytree(PACKAGE, package)
        generate(package)
        wrong = differences(package)
    for file in wrong:
        print(f"python/src/cellhold/{file} is not what the generator writes", file=sys.stderr)
    if wrong:
        print("run: build/pyvenv/bin/python python/tools/generate.py", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
