"""Each framework draws the plot of the demo, through the example of the documents, with a scripted model."""

from __future__ import annotations

import asyncio
import base64
import io
from collections.abc import Iterator
from typing import Any

from conftest import CELLS, QUESTION, check

import cellhold


def data(url: str) -> bytes:
    """Returns the bytes of a data URL."""
    assert url.startswith("data:image/png;base64,")
    return base64.b64decode(url.partition(",")[2])


def langchain_model(tools: list[list[dict[str, Any]]]) -> Any:
    """A model of LangChain that calls tools."""
    from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
    from langchain_core.messages import AIMessage

    class Scripted(GenericFakeChatModel):
        def bind_tools(self, tools: Any, **named: Any) -> Any:
            return self

    calls = [
        AIMessage("", tool_calls=[{"id": f"{i}.{n}", "type": "tool_call", **call} for n, call in enumerate(step)])
        for i, step in enumerate(tools)
    ]
    return Scripted(messages=iter([*calls, AIMessage("done")]))


def langchain_outputs(messages: list[Any]) -> tuple[list[str], list[bytes]]:
    """Returns the texts and images of the messages of tools."""
    blocks = [block for message in messages if message.type == "tool" for block in message.content_blocks]
    images = [base64.b64decode(block["base64"]) for block in blocks if block["type"] == "image"]
    return [block["text"] for block in blocks if block["type"] == "text"], images


def test_langchain(client: cellhold.Client) -> None:
    import with_langchain

    model = langchain_model([[{"name": "run_code", "args": {"code": code}}] for code in CELLS])
    state = with_langchain.ask(model, QUESTION)
    check(*langchain_outputs(state["messages"]))
    assert state["messages"][-1].text == "done"


def test_deepagents(client: cellhold.Client) -> None:
    import with_deepagents

    script = "\n".join(code for code in CELLS if '"specie"' not in code)
    model = langchain_model(
        [
            *([{"name": "run_code", "args": {"code": code}}] for code in CELLS),
            [{"name": "write_file", "args": {"file_path": "/workspace/plot.py", "content": script}}],
            [
                {
                    "name": "execute",
                    "args": {"command": "rm /mnt/data/output/penguins.png; MPLBACKEND=agg python3 plot.py"},
                }
            ],
            [{"name": "read_file", "args": {"file_path": "/mnt/data/output/penguins.png"}}],
        ]
    )
    texts, images = langchain_outputs(with_deepagents.ask(model, QUESTION)["messages"])
    check(texts[:5], images[:1])
    assert len(images) == 2 and images[1].startswith(b"\x89PNG"), "read_file shows the image that the script wrote"
    assert "Simpson's paradox" in texts[6]


def test_openai_agents(client: cellhold.Client) -> None:
    import with_openai_agents
    from agents import set_tracing_disabled
    from agents.testing import ScriptedModel, assistant_message, function_call

    set_tracing_disabled(True)
    calls = [[function_call("run_code", {"code": code}, call_id=str(i))] for i, code in enumerate(CELLS)]
    result = asyncio.run(with_openai_agents.ask(ScriptedModel([*calls, [assistant_message("done")]]), QUESTION))
    parts = [part for item in result.to_input_list() if "output" in item for part in item["output"]]
    images = [data(part["image_url"]) for part in parts if part["type"] == "input_image"]
    check([part["text"] for part in parts if part["type"] == "input_text"], images)
    assert result.final_output == "done"


def test_pydantic_ai(client: cellhold.Client) -> None:
    import with_pydantic_ai
    from pydantic_ai import BinaryContent
    from pydantic_ai.messages import ModelResponse, TextPart, ToolCallPart, ToolReturnPart
    from pydantic_ai.models.function import FunctionModel

    script = iter(CELLS)

    def next_step(messages: list[Any], info: Any) -> ModelResponse:
        code = next(script, None)
        return ModelResponse([TextPart("done") if code is None else ToolCallPart("run_code", {"code": code})])

    result = asyncio.run(with_pydantic_ai.ask(FunctionModel(next_step), QUESTION))
    parts = [part for message in result.all_messages() for part in message.parts if isinstance(part, ToolReturnPart)]
    content = [item for part in parts for item in part.content]
    images = [item.data for item in content if isinstance(item, BinaryContent)]
    check([item for item in content if isinstance(item, str)], images)
    assert result.output == "done"


def test_llama_index(client: cellhold.Client) -> None:
    import with_llama_index
    from llama_index.core.base.llms.types import ChatMessage, ImageBlock, TextBlock, ToolCallBlock
    from llama_index.core.llms.mock import MockFunctionCallingLLM

    script, seen = iter(enumerate(CELLS)), []

    def next_step(messages: list[ChatMessage], **named: Any) -> ChatMessage:
        seen[:] = messages
        i, code = next(script, (0, None))
        if code is None:
            return ChatMessage("done", role="assistant")
        call = ToolCallBlock(tool_call_id=str(i), tool_name="run_code", tool_kwargs={"code": code})
        return ChatMessage(role="assistant", blocks=[call])

    asyncio.run(with_llama_index.ask(MockFunctionCallingLLM(response_generator=next_step), QUESTION))
    blocks = [block for message in seen if message.role == "tool" for block in message.blocks]
    images = [block.resolve_image().read() for block in blocks if isinstance(block, ImageBlock)]
    check([block.text for block in blocks if isinstance(block, TextBlock)], images)


def test_agent_framework(client: cellhold.Client) -> None:
    import with_agent_framework
    from agent_framework import BaseChatClient, ChatResponse, Content, FunctionInvocationLayer, Message

    seen: list[Message] = []

    class Scripted(FunctionInvocationLayer, BaseChatClient):
        script = iter(enumerate(CELLS))

        async def _inner_get_response(self, *, messages: Any, stream: bool, options: Any, **named: Any) -> ChatResponse:
            seen[:] = messages
            i, code = next(self.script, (0, None))
            if code is None:
                return ChatResponse(messages=[Message("assistant", ["done"])])
            call = Content.from_function_call(str(i), "run_code", arguments={"code": code})
            return ChatResponse(messages=[Message("assistant", [call])])

    result = asyncio.run(with_agent_framework.ask(Scripted(), QUESTION))
    results = [content for message in seen for content in message.contents if content.type == "function_result"]
    items = [item for content in results for item in content.items]
    check(
        [item.text for item in items if item.type == "text"], [data(item.uri) for item in items if item.type == "data"]
    )
    assert result.text == "done"


def test_smolagents(client: cellhold.Client) -> None:
    import with_smolagents
    from smolagents import ActionStep, ChatMessage, Model

    class Scripted(Model):
        script: Iterator[str] = iter([*CELLS, "final_answer({'r': round(overall, 2), 'birds': len(measured)})"])

        def generate(self, messages: Any, **named: Any) -> ChatMessage:
            return ChatMessage("assistant", f"Thought: go on\n<code>\n{next(self.script)}\n</code>")

    steps = [step for step in with_smolagents.ask(Scripted(), QUESTION) if isinstance(step, ActionStep)]
    texts = [str(step.error.message if step.error else step.observations) for step in steps]
    images = [image for step in steps for image in step.observations_images or ()]
    written = io.BytesIO()
    images[0].save(written, "PNG")
    check(texts[:-1], [written.getvalue()])
    assert len(images) == 1 and steps[-1].is_final_answer and steps[-1].action_output == {"r": -0.24, "birds": 342}


def test_inspect_ai(client: cellhold.Client, tmp_path: Any, monkeypatch: Any) -> None:
    import with_inspect_ai
    from inspect_ai.model import ModelOutput, get_model

    monkeypatch.setenv("INSPECT_LOG_DIR", str(tmp_path))
    monkeypatch.setenv("INSPECT_DISPLAY", "none")
    outputs = [ModelOutput.for_tool_call("mockllm/model", "run_code", {"code": code}) for code in CELLS]
    model = get_model("mockllm/model", custom_outputs=[*outputs, ModelOutput.from_content("mockllm/model", "done")])

    async def count(text: str) -> int:  # the mock would download the tokens of a model
        return len(text) // 4

    monkeypatch.setattr(model.api, "count_text_tokens", count)
    [log] = with_inspect_ai.ask(model, QUESTION)
    assert log.status == "success" and log.samples, log.error
    content = [part for message in log.samples[0].messages if message.role == "tool" for part in message.content]
    kept = log.samples[0].attachments  # the log has images once, apart from the messages
    images = [data(kept[part.image.removeprefix("attachment://")]) for part in content if part.type == "image"]
    check([part.text for part in content if part.type == "text"], images)
