"""The sandbox for Inspect AI passes the checks that Inspect AI has for sandboxes."""

from __future__ import annotations

import asyncio
import inspect

from inspect_ai.util._sandbox import self_check

import cellhold
from cellhold.adapters.inspect_ai import CellholdSandboxEnvironment

NOT_MET: dict[str, str] = {}
"""Checks that the sandbox cannot pass, with the reason."""


def test_the_sandbox_passes_the_checks_of_inspect_ai(client: cellhold.Client) -> None:
    checks = {name: check for name, check in vars(self_check).items() if inspect.iscoroutinefunction(check)}
    checks = {name: check for name, check in checks.items() if name.startswith("test_")}

    async def failures() -> dict[str, str]:
        found: dict[str, str] = {}
        made = await CellholdSandboxEnvironment.sample_init("checks", None, {})
        for name, check in checks.items():
            try:
                await check(made["default"])
            except Exception as error:
                found[name] = repr(error)[:400]
        await CellholdSandboxEnvironment.sample_cleanup("checks", None, made, False)
        return found

    found = asyncio.run(failures())
    assert len(checks) > 30 and {name: text for name, text in found.items() if name not in NOT_MET} == {}
    assert found.keys() == NOT_MET.keys(), "the sandbox passes a check that is listed as one that it cannot pass"
