"""The sandbox for Inspect AI passes the checks that Inspect AI has for sandboxes."""

from __future__ import annotations

import asyncio
import inspect

from inspect_ai.util._sandbox import self_check

import cellhold
from cellhold.adapters.inspect_ai import CellholdSandboxEnvironment

NOT_MET = {
    "test_exec_as_user": "a sandbox has no root",
    "test_exec_large_command": "the arguments of a command have at most 1 MiB in all",
    "test_write_binary_file_without_permissions": "a write replaces the file, so the folder decides",
    "test_write_text_file_without_permissions": "a write replaces the file, so the folder decides",
}
"""Checks that the sandbox cannot pass, with the reason."""

SLOW = {
    "test_exec_input_large": "8 s",
    "test_exec_timeout_kills_child_processes": "7 s",
    "test_exec_timeout_kills_process": "7 s, and test/e2e has the same story",
    "test_read_and_write_large_file_binary": "3 s",
}
"""Checks that run only by hand, because of their time. The sandbox passed them."""


def test_the_sandbox_passes_the_checks_of_inspect_ai(client: cellhold.Client) -> None:
    checks = {name: check for name, check in vars(self_check).items() if inspect.iscoroutinefunction(check)}
    checks = {name: check for name, check in checks.items() if name.startswith("test_") and name not in SLOW}

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
