"""The program cellhold, as the package cellhold finds it."""

from __future__ import annotations

import sysconfig
from pathlib import Path

__version__ = "0.1.0"


def program() -> Path:
    """Returns the path of the program. Raises FileNotFoundError if the installation lacks it."""
    user = sysconfig.get_preferred_scheme("user")
    places = [sysconfig.get_path("scripts"), sysconfig.get_path("scripts", user), Path(__file__).parents[1] / "bin"]
    for place in places:  # of the environment, of pip install --user, and of pip install --target
        found = Path(place) / "cellhold"
        if found.is_file():
            return found
    raise FileNotFoundError("The program cellhold is missing. Install the package cellhold-server again.")
