"""The final answer and the figures of smolagents, as untrusted code writes them, against a server that runs nothing."""

from __future__ import annotations

import base64
import datetime
import io
import json
from decimal import Decimal
from typing import Any

import fake
import PIL.Image
import pytest
from smolagents import ActionStep
from smolagents.monitoring import Timing
from smolagents.serialization import SafeSerializer
from smolagents.utils import AgentError

from cellhold.adapters.smolagents import SandboxExecutor


def executor(*cells: dict[str, Any]) -> SandboxExecutor:
    """An executor whose cells end like these."""
    return SandboxExecutor(fake.Script(*(fake.cell(**cell) for cell in cells)).session())


def final(text: str) -> Any:
    """The final answer that the executor reads from a text of untrusted code."""
    error = {"output_type": "error", "ename": "FinalAnswerException", "evalue": text, "traceback": []}
    output = executor({"outputs": [error], "status": "error"}).run_code_raise_errors("x")
    assert output.is_final_answer
    return output.output


def typed(kind: str, **more: Any) -> str:
    return "safe:" + json.dumps([{"__type__": kind, **more}])


def png(width: int, height: int) -> str:
    """A white image of 1 bit for each pixel, which needs little space as a file, in base64."""
    file = io.BytesIO()
    PIL.Image.new("1", (width, height), 1).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def test_a_final_answer_can_have_harmless_types() -> None:
    values = [1, 2.5, "a", None, True, {"a": [(1, 2), {3}, frozenset({4})], "b": {(1, 2): b"\xff"}}, 1 + 2j]
    times = [datetime.datetime(2026, 1, 2, 3), datetime.date(2026, 1, 2), datetime.time(3), datetime.timedelta(days=1)]
    assert final(SafeSerializer.dumps([*values, *times, Decimal("1.5")])) == [*values, *times, Decimal("1.5")]
    assert final(typed("PIL.Image", data=png(30, 20)))[0].size == (30, 20)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (typed("ndarray", data=["a"], dtype="S1000"), "'ndarray', which is not read"),
        (typed("Path", data="/etc/passwd"), "'Path', which is not read"),
        (typed("dataclass", class_name="A", module="m", data={}), "'dataclass', which is not read"),
        (typed("\u202e" + "x" * 1000), f"'{'x' * 40}', which is not read"),
        (typed("Decimal", data="1e999999"), "exponent above 1000"),
        (typed("PIL.Image", data=base64.b64encode(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EOF\n").decode()), "no PNG"),
        (typed("PIL.Image", data=png(8000, 7000)), "above 50000000 pixels"),
        (typed("tuple", data=[json.loads(typed("PIL.Image", data=png(6000, 6000))[5:])] * 2), "above 50000000 pixels"),
        ("pickle:gASVAAAA", "is not JSON"),
        ("safe:" + "[" * 200_000, "RecursionError"),
        ("safe:" + "9" * 20_000, "ValueError"),
        (typed("set", data=[[1]]), "TypeError"),
    ],
    ids=[
        "array", "path", "object", "hidden characters", "large number", "PostScript", "large image", "two large images",
        "pickle", "deep list", "long number", "damaged set",
    ],
)  # fmt: skip
def test_a_final_answer_that_is_a_danger_is_an_error_of_the_code(text: str, reason: str) -> None:
    with pytest.raises(AgentError, match=reason):
        final(text)


def test_only_the_last_figures_are_kept_and_their_pixels_have_a_limit() -> None:
    small = [{"output_type": "display_data", "data": {"image/png": png(width, 10)}} for width in range(1, 8)]
    large = [{"output_type": "display_data", "data": {"image/png": png(6000, 6000)}}] * 2
    made = executor({"outputs": small}, {"outputs": small}, {"outputs": large})
    for _ in range(2):
        made.run_code_raise_errors("x")
    step = ActionStep(1, Timing(0.0))
    made.show_figures(step)
    assert [image.width for image in step.observations_images or ()] == [7, 1, 2, 3, 4, 5, 6, 7]
    made.run_code_raise_errors("x")
    step = ActionStep(2, Timing(0.0))
    made.show_figures(step)
    assert [image.width for image in step.observations_images or ()] == [6000]
