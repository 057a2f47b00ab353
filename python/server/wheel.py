"""Puts the program into the wheel as a command, and names the platform in the wheel's tag.

The program is linked statically, so it runs with each C library. CELLHOLD_DIST_PROGRAM has its path, and
CELLHOLD_DIST_PLATFORM the name of its processor, such as x86_64.
"""

from __future__ import annotations

import os
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class ProgramHook(BuildHookInterface[Any]):
    """Adds the program to the wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Sets the script and the tag."""
        program, processor = os.environ["CELLHOLD_DIST_PROGRAM"], os.environ["CELLHOLD_DIST_PLATFORM"]
        build_data["shared_scripts"][program] = "cellhold"
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-manylinux_2_17_{processor}.musllinux_1_1_{processor}"
