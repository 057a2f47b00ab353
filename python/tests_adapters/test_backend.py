"""The backend of deep agents, against a server that runs nothing."""

from __future__ import annotations

import fake
import httpx
import pytest

from cellhold.adapters import Conversations
from cellhold.adapters.deepagents import SandboxBackend


@pytest.fixture
def server() -> fake.Sandboxes:
    """A server that runs nothing."""
    return fake.Sandboxes()


def test_a_missing_file_leaves_the_session_and_a_missing_session_is_replaced(server: fake.Sandboxes) -> None:
    with Conversations(server.made, shared=True) as conversations:
        backend = SandboxBackend(conversations)
        [read] = backend.download_files(["none"])
        [written] = backend.upload_files([("none/a", b"x")])
        assert (read.error, written.error) == ("file_not_found", "file_not_found")
        assert server.lives == {"s1"} and backend.id == "s1"
        server.lives.clear()
        assert backend.execute("ls").exit_code == 0 and backend.id == "s2"


def test_a_command_that_was_started_is_never_repeated(server: fake.Sandboxes) -> None:
    def end() -> httpx.Response:
        server.lives.clear()
        return fake.problem(404, "not_found")

    with Conversations(server.made, shared=True) as conversations:
        backend = SandboxBackend(conversations)
        server.answers = {"POST commands": lambda: fake.command("running"), "GET x1": end}
        done = backend.execute("make deploy")
        assert done.exit_code is None and "not known, because the session ended while it ran" in done.output
        assert server.asked.count("POST /v1/sessions/s1/commands") == 1 and "s2" not in str(server.asked)
        server.answers["GET x1"] = lambda: fake.problem(404, "not_found")
        done = backend.execute("make deploy")
        assert done.exit_code is None and "no record of it" in done.output and server.lives == {"s2"}
        assert server.asked.count("POST /v1/sessions/s2/commands") == 1
