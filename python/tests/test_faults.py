"""Lost connections, errors and timeouts, against a server that follows a script."""

from __future__ import annotations

import httpx
import pytest
from fake import SESSION, Script, broken, cell, command, event, problem

import cellhold


def test_a_stream_continues_after_the_last_event_when_its_connection_breaks() -> None:
    first = event(3, "cell_queued") + event(4, "stream", name="stdout", text="a\n")
    again = event(4, "stream", name="stdout", text="a\n") + event(5, "stream", name="stdout", text="b\n")
    script = Script(
        cell("queued"),
        broken(first + b"id: 5\nevent: str"),
        broken(b": nothing new\n\n"),
        httpx.Response(200, content=again + b'event: bye\ndata: {"after":5}\n\n'),
        problem(503, "unavailable"),
        httpx.Response(
            200, content=event(6, "another_cell").replace(b"c1", b"c2") + event(7, "cell_done", status="ok")
        ),
        cell(),
    )
    stream = script.session().stream("x")
    assert [(e.seq, e.text) for e in stream] == [(3, ""), (4, "a\n"), (5, "b\n"), (7, "")]
    assert stream.cell.ok
    assert [line.split("?")[1] for line in script.asked if "events" in line] == [
        "after=2", "after=4", "after=4", "after=5", "after=5",
    ]  # fmt: skip


def test_a_lost_answer_to_code_is_asked_for_again_with_the_same_key() -> None:
    script = Script(httpx.ReadError("lost"), problem(503, "unavailable"), cell())
    assert script.session().run("x").ok
    keys = {request.headers["Idempotency-Key"] for request in script.requests}
    assert len(script.requests) == 3 and len(keys) == 1


def test_the_answer_to_a_new_session_is_asked_for_again_with_the_same_key() -> None:
    script = Script(httpx.ReadTimeout("late"), httpx.Response(201, json=SESSION), httpx.Response(204))
    with script.client().session() as s:
        assert s.id == "s1"
    first, second, _ = script.requests
    assert first.headers["Idempotency-Key"] == second.headers["Idempotency-Key"]


@pytest.mark.parametrize("lost", [httpx.ReadError("lost"), httpx.WriteError("lost"), problem(503, "unavailable")])
def test_a_request_with_an_effect_is_never_repeated(lost: httpx.Response | Exception) -> None:
    script = Script(lost)
    with pytest.raises(cellhold.UnavailableError):
        script.session().commands.run("rm -r data")
    assert len(script.requests) == 1


def test_a_request_that_never_left_is_repeated() -> None:
    script = Script(httpx.ConnectError("refused"), command())
    assert script.session().commands.run("date").ok
    assert len(script.requests) == 2


def test_an_end_that_was_done_before_its_answer_was_lost_is_done() -> None:
    script = Script(httpx.ReadError("lost"), problem(404, "not_found"))
    script.session().end()
    assert len(script.requests) == 2
    with pytest.raises(cellhold.NotFoundError):
        Script(problem(404, "not_found")).session().end()


def test_a_server_that_never_answers_is_given_up_after_the_patience() -> None:
    script = Script(*[httpx.ConnectError("refused")] * 9)
    with pytest.raises(cellhold.UnavailableError, match="http://server cannot be reached: refused"):
        script.client(patience=2).version()
    assert 2 <= len(script.requests) <= 6


def test_input_of_a_command_is_sent_again_from_the_same_offset() -> None:
    taken = httpx.Response(200, json={"offset": 0})
    script = Script(
        command("running", status=None), taken, problem(429, "exhausted"), httpx.ReadError("lost"),
        httpx.Response(200, json={"offset": 3}), httpx.Response(200, json={"offset": 3}), command(),
    )  # fmt: skip
    assert script.session().commands.run("cat", input="abc").ok
    writes = [(r.url.params["offset"], r.content) for r in script.requests if r.url.path.endswith("/stdin")]
    assert writes == [("-1", b""), ("0", b"abc"), ("0", b"abc"), ("0", b"abc"), ("3", b"")]


def test_an_upload_sends_all_its_bytes_again_after_a_lost_connection_only_if_none_left() -> None:
    info = {"path": "/a", "type": "file", "size": 3, "modified": "2026-01-01T00:00:00Z", "mode": "0644", "version": "1"}
    script = Script(httpx.ConnectError("refused"), httpx.Response(200, json=info))
    seen: list[tuple[int, int | None]] = []
    script.session().files.write("a", b"abc", on_progress=lambda sent, total: seen.append((sent, total)))
    assert script.requests[1].content == b"abc" and seen[-1] == (3, 3)
    with pytest.raises(cellhold.UnavailableError):
        Script(httpx.ReadError("lost")).session().files.write("a", b"abc")


def test_the_end_of_waiting_does_not_end_the_cell() -> None:
    script = Script(cell("queued"), cell("running"), cell())
    with pytest.raises(cellhold.WaitTimeout, match="It continues") as caught:
        script.session().run("x", wait=0)
    waited = caught.value.waited
    assert isinstance(caught.value, TimeoutError) and isinstance(waited, cellhold.Cell)
    assert waited.wait().ok
    assert not [line for line in script.asked if "interrupt" in line or "cancel" in line]


def run(index: int) -> bytes:
    empty = '{"text":"","bytes":0}'
    return (
        f'{{"index":{index},"status":"ok","stdout":{empty},"stderr":{empty},"outputs":[],"tests":[],"passed":0,"files":[]}}\n'
    ).encode()


def test_a_batch_with_a_key_continues_and_one_without_does_not() -> None:
    requests = [cellhold.RunRequest(code="1"), cellhold.RunRequest(code="2")]
    script = Script(broken(run(1), b"\n"), httpx.Response(200, content=run(1) + run(0)))
    assert [r.index for r in script.client().run_batch(requests, key="k")] == [1, 0]
    assert {r.headers["Idempotency-Key"] for r in script.requests} == {"k"}
    script = Script(broken(run(1)))
    with pytest.raises(cellhold.UnavailableError):
        list(script.client().run_batch(requests))
    assert len(script.requests) == 1


KINDS = {
    400: ("invalid", cellhold.InvalidError), 404: ("not_found", cellhold.NotFoundError),
    409: ("conflict", cellhold.ConflictError), 403: ("denied", cellhold.DeniedError),
    429: ("exhausted", cellhold.ExhaustedError), 503: ("unavailable", cellhold.UnavailableError),
    501: ("unsupported", cellhold.UnsupportedError), 500: ("internal", cellhold.InternalError),
}  # fmt: skip


@pytest.mark.parametrize("status", KINDS)
def test_each_kind_of_error_has_a_class_with_the_sentence_of_the_server(status: int) -> None:
    kind, cls = KINDS[status]
    fields = [{"location": "body.count", "message": "too many"}]
    with pytest.raises(cls) as caught:
        Script(problem(status, kind, errors=fields)).session().fork(3)
    error = caught.value
    assert (error.kind, error.detail, error.status, error.request_id) == (kind, f"It is {kind}.", status, "r1")
    assert str(error) == f"It is {kind}.\n  body.count: too many"
    with pytest.raises(cls, match=f"status {status}"):  # an answer of a proxy
        Script(httpx.Response(status, text="<h1>no</h1>")).session().fork(3)


def test_the_token_goes_only_to_the_named_server() -> None:
    script = Script(
        httpx.Response(200, json={"status": "ok"}), httpx.Response(302, headers={"Location": "http://other/"})
    )
    client = script.client()
    assert client.is_alive()
    with pytest.raises(cellhold.InternalError):
        client.version()
    assert ["Authorization" in r.headers for r in script.requests] == [False, True]
    assert {r.url.host for r in script.requests} == {"server"}


def test_an_answer_in_another_form_is_an_error_of_the_server() -> None:
    for answer in (
        httpx.Response(200, text="hello"),
        httpx.Response(200, json=[]),
        httpx.Response(200, json={"id": 1}),
    ):
        with pytest.raises(cellhold.InternalError):
            Script(answer).session().info()


def test_an_id_cannot_lead_to_another_path() -> None:
    script = Script(cell())
    script.session().cells.get("../../x?y")
    assert script.asked == ["GET /v1/sessions/s1/cells/..%2F..%2Fx%3Fy"]
    for id in ("", ".", ".."):
        with pytest.raises(cellhold.InvalidError):
            Script().session().cells.get(id)
