"""Models, outputs, archives and events from strangers."""

from __future__ import annotations

import base64
import io
import tarfile
from pathlib import Path
from typing import Any

import pytest

import cellhold
from cellhold import _archive, _sse, models
from cellhold._command import CommandView
from cellhold._run import RunView
from cellhold._values import decode, encode, time
from cellhold.outputs import Figure, Output, bundle, failure, plain

PNG = base64.b64encode(b"\x89PNG data").decode()


def display(**data: Any) -> Output:
    return Output(models.Output(output_type="display_data", data={k.replace("_", "/", 1): v for k, v in data.items()}))


def test_unknown_fields_are_ignored_and_wrong_types_are_errors() -> None:
    file = {"path": "/a", "size": 3, "modified": "2026-01-01T01:00:00.123456789+01:00", "new": [1]}
    found = decode(models.CellFile, file)
    assert found.modified == time("2026-01-01T00:00:00.123456Z") and encode(models.Egress(hosts=["a"])) == {
        "hosts": ["a"]
    }
    for wrong in (
        {**file, "size": "3"},
        {**file, "size": True},
        {**file, "modified": "today"},
        {"path": "/a"},
        None,
        [],
    ):
        with pytest.raises(cellhold.InternalError):
            decode(models.CellFile, wrong)


def test_a_figure_is_saved_in_the_format_of_its_suffix(tmp_path: Path) -> None:
    figure = display(image_png=PNG, **{"image_svg+xml": ["<svg>", "</svg>"], "text_plain": "<Figure>"}).figure
    assert figure is not None and figure.formats == ["png", "svg"] and figure.svg == "<svg></svg>"
    assert figure.save(tmp_path / "a.PNG").read_bytes() == figure.png == b"\x89PNG data"
    with pytest.raises(ValueError, match="no pdf, only png, svg"):
        figure.save(tmp_path / "a.pdf")
    with pytest.raises(ValueError, match="no format of figures"):
        figure.save(tmp_path / "a.exe")
    assert Figure({"image/png": "not base64!"}).formats == []


def test_a_notebook_gets_only_escaped_text_and_images() -> None:
    outputs = [
        Output(models.Output(output_type="stream", name="stdout", text="\x1b]0;title\x07\x1b[31m<b>red</b>\x1b[0m\n")),
        display(text_html="<script>steal()</script>", text_plain="a <table>"),
        display(**{"image_svg+xml": "<svg onload='steal()'/>", "application_javascript": "steal()"}),
        display(image_png=PNG),
    ]
    shown = bundle(outputs, failure("E", "v", ["\x1b[1mE\x1b[0m: <v>"]))
    assert shown["text/plain"] == "<b>red</b>\na <table>\nE: <v>\n"
    assert "steal" not in shown["text/html"] and "<b>" not in shown["text/html"]
    assert f'<img src="data:image/png;base64,{PNG}">' in shown["text/html"] and "&lt;v&gt;" in shown["text/html"]
    assert set(shown) == {"text/plain", "text/html"}


def test_plain_text_has_no_control_characters() -> None:
    assert plain("a\x1b[1;31mb\x1b[0m\x1b]8;;http://x\x1b\\c\x9b2Jd\te\r\nf\x08\x00") == "abc2Jd\te\nf"


def tar(*entries: tuple[str, str, bytes]) -> io.BytesIO:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, kind, content in entries:
            info = tarfile.TarInfo(name)
            info.type, info.size = (
                {"file": tarfile.REGTYPE, "link": tarfile.SYMTYPE}[kind],
                0 if kind == "link" else len(content),
            )
            info.linkname = content.decode() if kind == "link" else ""
            archive.addfile(info, io.BytesIO(content))
    return file


def test_errors_of_commands_and_runs_have_no_control_characters() -> None:
    hostile = models.CommandOutput(text="\x1b]0;title\x07\x1b[2Jno\b\x9b1A\r\n\x1b[31m" + "x" * 1996, bytes=1)
    empty = models.CommandOutput(text="", bytes=0)
    more: dict[str, Any] = {"id": "x1", "session": "s1", "first": 1, "started": time("2026-01-01T00:00:00Z")}
    command = CommandView()
    command.data = models.Command(state="done", status="exit", exit_code=3, stdout=empty, stderr=hostile, **more)
    assert str(cellhold.CommandError(command)) == "The command ended with exit status 3.\no1A\n" + "x" * 1996
    lists: dict[str, Any] = {"files": [], "outputs": [], "tests": [], "passed": 0, "index": 0}
    run = RunView(models.RunResult(status="exit", stdout=empty, stderr=hostile, **lists))
    assert run.error and str(run.error) == "exit: no1A\n" + "x" * 1996 and run.error.value == "no1A\n" + "x" * 1996
    assert str(cellhold.RunError(run)) == str(run.error)


@pytest.mark.parametrize(
    "entry", [("../out", "file", b"x"), ("link", "link", b"../../etc"), ("a/../../out", "file", b"x")]
)
def test_an_archive_cannot_leave_its_folder(tmp_path: Path, entry: tuple[str, str, bytes]) -> None:
    with pytest.raises(cellhold.DeniedError):
        _archive.unpack(tar(entry), tmp_path / "in", 100)
    assert not (tmp_path / "out").exists()


def test_an_archive_has_limits(tmp_path: Path) -> None:
    _archive.unpack(tar(("a/b", "file", b"x" * 60)), tmp_path / "one", 100)
    assert (tmp_path / "one/a/b").read_bytes() == b"x" * 60
    with pytest.raises(cellhold.ExhaustedError):
        _archive.unpack(tar(("a", "file", b"x" * 60), ("b", "file", b"x" * 60)), tmp_path / "two", 100)


def test_events_are_read_in_pieces_of_any_size() -> None:
    stream = b": hello\r\n\r\nevent: stream\r\ndata: a\ndata: b\n\nid: 1\n\ndata:c\n\n"
    for size in range(1, len(stream)):
        messages = _sse.Messages()
        found = [m for at in range(0, len(stream), size) for m in messages.feed(stream[at : at + size])]
        assert found == [("stream", b"a\nb"), ("", b"c")]


def test_a_line_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_sse, "MAX_LINE", 10)
    with pytest.raises(cellhold.InternalError, match="limit of 10 bytes"):
        _sse.Lines().feed(b"x" * 11)
