"""The part of the adapters that needs no framework: what a model reads, and the sessions of conversations."""

from __future__ import annotations

import asyncio
import base64
import inspect
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import fake
import pytest

import cellhold
from cellhold import adapters
from cellhold._cell import CellView
from cellhold._values import decode
from cellhold.adapters import Answer, Conversations
from cellhold.adapters._answer import answer_of, visible

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n data").decode()
JPEG = base64.b64encode(b"\xff\xd8\xff data").decode()


def answer(*outputs: dict[str, Any], most: int = 16_000, **more: Any) -> Answer:
    """The answer for a cell with these outputs."""
    cell = CellView()
    cell.data = decode(cellhold.models.Cell, fake.cell(outputs=list(outputs), **more).json())
    return answer_of(cell, most=most)


def printed(text: str, name: str = "stdout") -> dict[str, Any]:
    return {"output_type": "stream", "name": name, "text": text}


def image(mime: str, data: str) -> dict[str, Any]:
    return {"output_type": "display_data", "data": {mime: data, "text/plain": "<Figure>"}}


def test_a_model_reads_the_head_and_the_tail_of_long_text() -> None:
    found = answer(printed("begin\n" + "x" * 50_000 + "\nend\n"), most=1000)
    assert found.text.startswith("begin\nxxx") and found.text.endswith("xxx\nend\n[ok]") and not found.failed
    assert 998 <= len(found.text) <= 1000 and "[50010 characters, and the middle is left out. Print less" in found.text
    assert answer().text == "The code printed nothing and has no result.\n[ok]"


def test_a_model_reads_the_traceback_after_long_text() -> None:
    trace = ["\x1b[31mTraceback\x1b[0m", *["  a frame"] * 5000, "KeyError: 'specie'"]
    error = {"output_type": "error", "ename": "KeyError", "evalue": "'specie'", "traceback": trace}
    found = answer(printed("x" * 50_000), error, status="error", most=2000)
    assert found.failed and 1998 <= len(found.text) <= 2000
    assert "\nTraceback\n  a frame" in found.text and found.text.endswith("  a frame\nKeyError: 'specie'\n[error]")


@pytest.mark.parametrize(
    ("status", "cause", "text"),
    [
        ("timeout", "It ran longer than 5 s.", "timeout: It ran longer than 5 s. Variables survive.\n[timeout]"),
        ("oom", "It needed more memory.", "oom: It needed more memory. Variables are lost; files stay.\n[oom]"),
        ("cancelled", "", "cancelled The code did not run.\n[cancelled]"),
        ("exit", "It ended; its variables are lost.", "exit: It ended; its variables are lost.\n[exit]"),
    ],
)
def test_a_model_reads_what_is_left_of_the_variables(status: str, cause: str, text: str) -> None:
    assert answer(status=status, cause=cause).text == text


def test_a_model_sees_only_images_that_it_can_read() -> None:
    damaged = base64.b64encode(b"<script>").decode()
    large = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(4 << 20)).decode()
    found = answer(image("image/jpeg", JPEG), image("image/png", damaged), image("image/svg+xml", "<svg/>"))
    assert [one.mime for one in found.images] == ["image/jpeg"] and "2 figures are not shown: they are no" in found.text
    assert found.images[0].url == f"data:image/jpeg;base64,{JPEG}"
    found = answer(image("image/png", large), *[image("image/png", PNG)] * 9)
    assert len(found.images) == 8 and "2 figures are not shown: the limits are 8 figures and 3 MiB" in found.text


def test_a_model_reads_no_character_that_people_cannot_see() -> None:
    assert visible("a\u202eb\U000e0041c\u200bd\x1b[31me\x07 \u00e9\U0001f600\t\n") == "abcde \u00e9\U0001f600\t\n"
    file = {"path": "/workspace/a\nb\u202e" + "c" * 300, "size": 1, "modified": "2026-01-01T00:00:00Z"}
    assert answer(files=[file] * 30).text.count("a\ufffdbccc") == 20


def test_a_file_that_is_missing_does_not_end_the_session() -> None:
    server = fake.Sandboxes()
    with Conversations(server.made) as conversations:
        with pytest.raises(cellhold.NotFoundError):
            conversations.use(lambda session: session.files.read("none"))
        assert server.lives == {"s1"} and conversations.use(lambda session: session.id) == "s1"
        server.answers["POST cells"] = lambda: fake.problem(404, "not_found")  # such as an unknown kernel
        with pytest.raises(cellhold.NotFoundError):
            conversations.run("x")
        assert server.lives == {"s1"}


def test_parallel_calls_replace_an_ended_session_once() -> None:
    server, both = fake.Sandboxes(), threading.Barrier(2, timeout=30)

    def act(session: cellhold.Session) -> str:
        if session.id == "s1":
            both.wait()  # so each of the two calls has the session that has ended
            session.files.mkdir("a")
        return session.id

    with Conversations(server.made) as conversations, ThreadPoolExecutor(2) as threads:
        conversations.use(cellhold.Session.open)
        server.lives.clear()
        assert list(threads.map(conversations.use, [act, act])) == ["s2", "s2"]
        assert server.lives == {"s2"} and server.asked.count("DELETE /v1/sessions/s1") == 1


def test_a_session_in_use_does_not_end_as_a_surplus_one() -> None:
    server = fake.Sandboxes()

    def act(session: cellhold.Session) -> set[str]:
        conversations.run("x", "bob")
        return set(server.lives)

    with Conversations(server.made, max_conversations=1) as conversations:
        assert conversations.use(act, "ann") == {"s1", "s2"}
        conversations.run("x", "cid")
        assert server.lives == {"s3"}


@pytest.mark.sandbox
def test_each_conversation_has_a_session_and_the_last_used_ones_stay(server: dict[str, str]) -> None:
    with cellhold.Client(**server) as client:
        before = {session.id for session in client.sessions()}
        with Conversations(lambda: cellhold.Session(**server), max_conversations=2) as conversations:
            conversations.run("x = 1", "ann")
            assert "NameError" in conversations.run("x", "bob").text
            assert conversations.run("x", "ann").text.startswith("1\n[ok · ")
            ids = [conversations.session(name).id for name in ("ann", "bob")]
            conversations.run("x = 3", "cid")  # ann was used before bob
            assert "NameError" in conversations.run("x", "ann").text
            assert ids[1] not in {session.id for session in client.sessions()}
            conversations.end("cid")
            conversations.end("unknown")
            assert len({session.id for session in client.sessions()} - before) == 1
        assert {session.id for session in client.sessions()} == before
        with pytest.raises(cellhold.Error, match="closed"):
            conversations.run("1")


@pytest.mark.sandbox
def test_a_session_that_ended_is_replaced_and_the_model_reads_it(server: dict[str, str]) -> None:
    with cellhold.Client(**server) as client, Conversations(lambda: client.session()) as conversations:
        conversations.run("x = 1")
        cellhold.Session.attach(conversations.session().id, client=client).end()
        found = conversations.run("x")
        assert found.failed and found.text.startswith("The session of this conversation had ended.")
        waits: list[Answer] = []
        code = "print('begun', flush=True); import time; time.sleep(600)"
        thread = threading.Thread(target=lambda: waits.append(conversations.run(code)))
        thread.start()
        running(conversations)
        cellhold.Session.attach(conversations.session().id, client=client).end()
        thread.join(60)
        assert waits and waits[0].failed and "lost: The session has ended. Variables are lost.\n" in waits[0].text
        assert "\n42\n" in conversations.run("6 * 7").text


@pytest.mark.sandbox
def test_a_cancelled_task_interrupts_its_code(server: dict[str, str]) -> None:
    async def story() -> None:
        async with Conversations(lambda: cellhold.Session(**server), timeout=300) as conversations:
            assert (await conversations.arun("x = 5; 'ready'")).text.startswith("'ready'\n")
            task = asyncio.create_task(conversations.arun("print('begun', flush=True); import time; time.sleep(600)"))
            cell = await asyncio.to_thread(running, conversations)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await asyncio.to_thread(cell.wait, 60)
            assert cell.status == "interrupted"
            assert (await conversations.arun("x")).text.startswith("5\n")

    asyncio.run(story())


def running(conversations: Conversations) -> cellhold.Cell:
    """Returns the last cell of the conversation when it has printed that it has begun."""
    session = conversations.session()
    for event in session.events():
        if event.text == "begun\n":
            return session.cells.get(str(event.cell))
    raise AssertionError("the session ended")


def test_the_page_shows_the_examples_that_the_tests_run() -> None:
    root = Path(__file__).parents[2]
    page = (root / "docs" / "how-to" / "use-from-agent-frameworks.md").read_text()
    examples = sorted((root / "python" / "examples").glob("with_*.py"))
    assert len(examples) == 8
    assert [file.name for file in examples if f"```python\n{file.read_text()}```" not in page] == []


@pytest.mark.parametrize("name", ["Answer", "Conversations", "Image"])
def test_every_public_name_of_the_adapters_has_a_docstring(name: str) -> None:
    value = getattr(adapters, name)
    own = {key: member for key, member in vars(value).items() if not key.startswith("_")}
    missing = [key for key, member in own.items() if callable(member) and not inspect.getdoc(member)]
    assert inspect.getdoc(value) and missing == []
