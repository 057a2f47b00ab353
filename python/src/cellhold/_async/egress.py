"""The network access of a session."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import _operations as op
from .. import models

if TYPE_CHECKING:
    from .session import AsyncSession


class AsyncEgress:
    """The connections of a session's code to hosts: `session.egress`. The creation of the session sets the hosts."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def policy(self) -> models.Egress:
        """Returns the network access: the policy, and the hosts of an allowlist."""
        return (await self._session.info()).egress

    async def attempts(self, after: int = 0) -> list[models.EgressAttempt]:
        """Returns all attempts to connect to a host with positions above after, also refused ones, oldest first."""
        found: dict[str, models.EgressAttempt] = {}
        while True:
            page = await self._session._call(models.AttemptPage, op.LIST_EGRESS, query={"after": after})
            found.update({attempt.id: attempt for attempt in page.attempts})
            if not page.attempts or page.next == after:
                return list(found.values())
            after = page.next
