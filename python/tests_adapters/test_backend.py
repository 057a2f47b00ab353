"""The backend of deep agents and the sandbox of Inspect AI, against a server that runs nothing."""

from __future__ import annotations

import asyncio

import fake
import httpx
import pytest

import cellhold
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


HIDDEN = "a\u202e\x1b[31mb\u200b\U000e0041\n"


def test_a_model_reads_only_visible_characters_of_a_command(server: fake.Sandboxes) -> None:
    text = HIDDEN
    server.answers["POST commands"] = lambda: fake.command(stdout={"text": text, "bytes": len(text)})
    with Conversations(server.made, shared=True) as conversations:
        backend = SandboxBackend(conversations)
        assert backend.execute("cat a").output == "ab\n"
        text = f"/workspace/a:b\x007:{HIDDEN}"
        found = [{"path": "/workspace/a:b", "line": 7, "text": "ab"}]
        assert backend.grep("a").matches == asyncio.run(backend.agrep("a")).matches == found


def test_the_sandbox_of_inspect_ai_returns_visible_text() -> None:
    from cellhold.adapters.inspect_ai import CellholdSandboxEnvironment

    def answer(request: httpx.Request) -> httpx.Response:
        stream = {"text": HIDDEN, "bytes": len(HIDDEN)}
        return fake.command(stdout=stream, stderr=stream)

    async def story() -> None:
        async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as http:
            client = cellhold.AsyncClient("http://server", "secret", http=http)
            done = await CellholdSandboxEnvironment(client.session("s1")).exec(["cat", "a"])
            assert (done.stdout, done.stderr) == ("ab\n", "ab\n")

    asyncio.run(story())
