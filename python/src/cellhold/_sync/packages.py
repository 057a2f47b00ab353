# Generated from ../_async/packages.py by python/tools/generate.py. Do not edit.
"""The packages of a session."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from .. import _operations as op
from .. import models
from . import _sys

if TYPE_CHECKING:
    from .session import Session


class Packages:
    """The packages of a session, for all its kernels: `session.packages`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def install(
        self,
        *requirements: str,
        requirements_file: str | None = None,
        on_progress: Callable[[float], object] | None = None,
    ) -> models.Installation:
        """Installs packages, and returns the changes, the warnings and the log of the installer.

        Args:
            requirements: names with extras, versions, markers and hashes, in the syntax of pip
            requirements_file: text of a requirements file, such as one of `lock`, at most 4 MiB
            on_progress: called each second with the seconds since the beginning

        Raises DeniedError if the operator's policy forbids a package. A lost connection does not stop the installation.
        """
        body = models.InstallPackages(requirements=list(requirements) or None, requirements_file=requirements_file)
        self._session.open()
        with _sys.ticking(on_progress):
            return self._session._call(models.Installation, op.INSTALL_PACKAGES, json=body)

    def list(self) -> list[models.Package]:
        """Returns the packages that differ from the image, by name, with their versions."""
        return (self._session._call(models.PackageList, op.LIST_PACKAGES)).packages

    def lock(self) -> str:
        """Returns a requirements file with versions and hashes, to install the same files elsewhere."""
        return (self._session._send(op.LOCK_PACKAGES)).text

    def remove(self, name: str) -> models.Installation:
        """Removes a package. Its dependencies stay."""
        return self._session._call(models.Installation, op.REMOVE_PACKAGE, name)
