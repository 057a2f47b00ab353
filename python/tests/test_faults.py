"""Lost connections, errors and timeouts, against a server that follows a script."""

from __future__ import annotations

import gzip
import json
import types
from pathlib import Path
from typing import Any

import httpx
import pytest
from fake import SESSION, Script, broken, cell, command, event, problem

import cellhold
from cellhold import _policy
from cellhold._sync import _sys


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that only the pauses between retries move. So no test depends on the speed of the machine."""
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr(_policy, "time", types.SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(_sys, "sleep", sleep)


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


def test_a_download_without_a_target_replaces_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    answers = [httpx.Response(200, content=b"theirs") for _ in range(2)]
    assert Script(answers[0]).session().files.download("a/new").read_bytes() == b"theirs"
    Path("mine").write_bytes(b"mine")
    with pytest.raises(FileExistsError, match="give a path"):
        Script().session().files.download("a/mine")
    late = Script(answers[1]).session().files
    with pytest.raises(FileExistsError):
        late.download("a/late", on_progress=lambda *_: Path("late").touch())
    Script(httpx.Response(200, content=b"theirs")).session().files.download("a/mine", "mine")
    assert Path("mine").read_bytes() == b"theirs"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["late", "mine", "new"]


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
    assert len(script.requests) == 5  # after pauses of 0.1, 0.2, 0.4 and 0.8 s


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


def port(script: Script, method: str = "GET", path: str = "/", **more: Any) -> httpx.Response:
    """Sends a request to port 8000 of the session s1."""
    return script.session().ports.request(method, 8000, path, **more)


def test_a_request_to_a_port_has_the_token_and_the_body_of_its_caller() -> None:
    script = Script(*[httpx.Response(200)] * 4)
    port(script, "post", "a b?c=1#d", params={"e": "2"}, json={"f": None}, headers={"X-Own": "1"})
    port(script, "PUT", "/../../%20", content="text")
    port(script, "POST", "//x", data={"a": "b c"})
    port(script, "POST", "", files={"f": ("n.txt", b"text")})
    first, second, third, last = script.requests
    below = "/v1/sessions/s1/ports/8000"
    assert script.asked == [
        f"POST {below}/a%20b?c=1&e=2", f"PUT {below}/%20", f"POST {below}//x", f"POST {below}/",
    ]  # fmt: skip
    assert first.content == b'{"f":null}' and first.headers["X-Own"] == "1" and first.url.host == "server"
    assert first.headers["Authorization"] == "Bearer secret" and first.headers["Content-Type"] == "application/json"
    assert second.content == b"text" and third.content == b"a=b+c" and b'filename="n.txt"' in last.content
    assert [len(r.headers.get_list("Content-Length")) for r in script.requests] == [1, 1, 1, 1]


@pytest.mark.parametrize("path", ["/%2e%2e/status", "/a/%2E%2e", "/%2e", "/..%2fstatus", "/..%5cstatus", "/a\nb"])
def test_a_path_cannot_leave_its_port(path: str) -> None:
    with pytest.raises(cellhold.InvalidError, match=r"segment is a dot|cannot be built"):
        port(Script(), path=path)


def test_a_wrong_request_to_a_port_is_refused() -> None:
    with pytest.raises(cellhold.InvalidError, match="Authorization"):
        port(Script(), headers={"authorization": "x"})
    for number in (0, 65536):
        with pytest.raises(cellhold.InvalidError, match="1 to 65535"):
            Script().session().ports.request("GET", number)


def test_a_request_to_a_port_is_repeated_only_while_no_program_got_it() -> None:
    script = Script(httpx.ConnectError("refused"), problem(502, "not_found"), httpx.Response(200, text="ready"))
    assert port(script, "POST", wait=5).text == "ready"
    for answer, cls in (
        (problem(502, "not_found"), cellhold.NotFoundError),
        (problem(404, "not_found"), cellhold.NotFoundError),
        (problem(502, "unavailable"), cellhold.UnavailableError),
        (httpx.ReadError("lost"), cellhold.UnavailableError),
    ):
        script = Script(answer)
        with pytest.raises(cls):
            port(script, wait=0 if "502" in repr(answer) else 5)
        assert len(script.requests) == 1


def test_errors_of_a_program_are_its_answers() -> None:
    own = {"Content-Type": "application/problem+json", "Content-Language": "en"}
    for answer in (httpx.Response(500, text="no"), httpx.Response(422, json={"detail": "no"}, headers=own)):
        status, body = answer.status_code, answer.content
        found = port(Script(answer))
        assert (found.status_code, found.content) == (status, body)
    assert found.headers["Content-Language"] == "en"


def test_an_answer_of_a_program_that_is_too_large_or_breaks_is_an_error() -> None:
    packed = httpx.Response(200, content=gzip.compress(bytes(1_000_000)), headers={"Content-Encoding": "gzip"})
    assert len(port(Script(packed)).content) == 1_000_000
    packed = httpx.Response(200, content=gzip.compress(bytes(1_000_000)), headers={"Content-Encoding": "gzip"})
    with pytest.raises(cellhold.ExhaustedError, match="more than 999999 bytes"):
        port(Script(packed), max_bytes=999_999)
    with pytest.raises(cellhold.UnavailableError, match="broke"):
        port(Script(broken(b"a")))


def test_hosts_of_ports_are_those_of_the_server() -> None:
    access = {"path": "/v1/sessions/s1/ports/PORT/", "hosts": ["PORT-s1.cells.example"], "public": True, "header": "H"}
    script = Script(httpx.Response(200, json=access), httpx.Response(200, json=access))
    ports = script.session().ports
    assert ports.host(80) == "80-s1.cells.example"
    assert ports.url(80, "/a?b=c") == "http://server/v1/sessions/s1/ports/80/a?b=c"


def test_a_new_session_can_have_public_ports() -> None:
    script = Script(httpx.Response(201, json=SESSION), httpx.Response(204))
    with script.client().session(public_ports=True):
        pass
    assert json.loads(script.requests[0].content) == {"public_ports": True}
