"""Writes the synchronous half of the package from the asynchronous half.

People write only the folder _async. Each file there becomes a file in _sync, by replacing words. The two files _sys.py
are both written by hand: they have the few functions that differ in more than words.
"""

from __future__ import annotations

import re
from pathlib import Path

HEADER = "# Generated from ../_async/{name} by python/tools/generate.py. Do not edit.\n"

WORDS = [
    (r"\basync (def|with|for)\b", r"\1"),
    (r"\bawait ", ""),
    (r"\b__a(enter|exit|iter|next)__\b", r"__\1__"),
    (r"\bAsyncGenerator\[([^\]]+), None\]", r"Generator[\1, None, None]"),
    (r"\bAwaitable\[([^\]]+)\]", r"\1"),
    (r"\bStopAsyncIteration\b", "StopIteration"),
    (r"\bAsync(?=[A-Z])", ""),
    (r"\ba(close|read|iter_bytes)\b", r"\1"),
    (r"\basynccontextmanager\b", "contextmanager"),
    (r"\b_async\b", "_sync"),
]


def synchronous(text: str) -> str:
    """Returns the synchronous form of a source text."""
    for pattern, replacement in WORDS:
        text = re.sub(pattern, replacement, text)
    return text


def write(source: Path, target: Path) -> None:
    """Writes the files of the folder source into the folder target."""
    target.mkdir(exist_ok=True)
    for file in sorted(source.glob("*.py")):
        if file.name != "_sys.py":
            (target / file.name).write_text(HEADER.format(name=file.name) + synchronous(file.read_text()))
    for old in target.glob("*.py"):
        if not (source / old.name).exists():
            old.unlink()
