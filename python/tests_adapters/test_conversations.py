"""Each framework names its conversations, and a backend of deep agents has files and whole outputs."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

import cellhold
from cellhold.adapters import Answer, Conversations


class Recorded(Conversations):
    """Conversations that run nothing, and keep the names that the frameworks give."""

    def __init__(self, shared: bool = False) -> None:
        super().__init__(shared=shared)
        self.names: list[str] = []

    def run(self, code: str, conversation: str = "") -> Answer:
        self.names.append(conversation)
        return Answer(code)

    async def arun(self, code: str, conversation: str = "") -> Answer:
        return self.run(code, conversation)


@pytest.fixture
def recorded() -> Recorded:
    """The names of conversations."""
    return Recorded()


def test_a_thread_of_langgraph_is_a_conversation(recorded: Recorded) -> None:
    from cellhold.adapters.langchain import code_tool

    tool = code_tool(recorded)
    assert list(tool.args) == ["code"]
    tool.invoke({"code": "1"}, {"configurable": {"thread_id": "ann"}})
    asyncio.run(tool.ainvoke({"code": "1"}, {"configurable": {"thread_id": "bob"}}))
    assert tool.invoke({"code": "1"}, {"configurable": {"thread_id": 0}}) == [{"type": "text", "text": "1"}]
    for config in (None, {"configurable": {"thread_id": ""}}):
        with pytest.raises(cellhold.InvalidError, match="no id of a conversation.*thread_id.*shared=True"):
            tool.invoke({"code": "1"}, config)
    assert recorded.names == ["ann", "bob", "0"]


def test_runs_without_an_id_share_a_session_if_the_caller_says_so() -> None:
    from cellhold.adapters.langchain import code_tool

    recorded = Recorded(shared=True)
    code_tool(recorded).invoke({"code": "1"})
    assert recorded.names == [""]


def test_a_group_of_runs_of_openai_agents_is_a_conversation(recorded: Recorded) -> None:
    from agents import Agent, RunConfig, Runner, set_tracing_disabled
    from agents.testing import ScriptedModel, assistant_message, function_call

    from cellhold.adapters.openai_agents import code_tool

    set_tracing_disabled(True)
    calls = [
        function_call("run_code", arguments, call_id=str(i)) for i, arguments in enumerate(['{"code": "1"}', "{}"])
    ]

    def run(tool: Any, config: RunConfig | None) -> str:
        model = ScriptedModel([calls, [assistant_message("done")]])
        result = asyncio.run(Runner.run(Agent("a", model=model, tools=[tool]), "?", run_config=config, context="cid"))
        return str(result.to_input_list())

    assert "Invalid arguments" in run(code_tool(recorded), RunConfig(group_id="ann"))
    with pytest.raises(Exception, match="no id of a conversation.*group_id"):  # the framework wraps it
        run(code_tool(recorded), None)
    run(code_tool(recorded, conversation=lambda context: context.context), None)
    assert recorded.names == ["ann", "cid"]


def test_runs_of_pydantic_ai_with_one_history_are_a_conversation(recorded: Recorded) -> None:
    from pydantic_ai import Agent
    from pydantic_ai.messages import ModelResponse, TextPart, ToolCallPart, ToolReturnPart
    from pydantic_ai.models.function import FunctionModel

    from cellhold.adapters.pydantic_ai import code_toolset

    def next_step(messages: list[Any], info: Any) -> ModelResponse:
        called = any(isinstance(part, ToolReturnPart) for part in messages[-1].parts)
        return ModelResponse([TextPart("done") if called else ToolCallPart("run_code", {"code": "1"})])

    agent = Agent(FunctionModel(next_step), toolsets=[code_toolset(recorded)])
    first = agent.run_sync("?")
    agent.run_sync("?")
    agent.run_sync("?", message_history=first.all_messages())
    agent.run_sync("?", conversation_id="ann")
    one, two = recorded.names[:2]
    assert one and two and one != two and recorded.names[2:] == [one, "ann"]
    with pytest.raises(cellhold.InvalidError, match="no id of a conversation.*conversation_id"):
        asyncio.run(code_toolset(recorded).tools["run_code"].function(SimpleNamespace(conversation_id=None), "1"))
    assert len(recorded.names) == 4


def test_a_session_of_the_agent_framework_is_a_conversation(recorded: Recorded) -> None:
    from agent_framework import AgentSession, FunctionInvocationContext

    from cellhold.adapters.agent_framework import code_tool

    tool = code_tool(recorded)
    assert list(tool.parameters()["properties"]) == ["code"]

    def run(session: AgentSession | None) -> None:
        context = FunctionInvocationContext(tool, {"code": "1"}, session=session)
        asyncio.run(tool.invoke(arguments={"code": "1"}, context=context))

    run(AgentSession(session_id="ann"))
    with pytest.raises(cellhold.InvalidError, match="no id of a conversation.*create_session"):
        run(None)
    assert recorded.names == ["ann"]


def test_a_tool_spec_of_llama_index_is_a_conversation(recorded: Recorded) -> None:
    from cellhold.adapters.llama_index import CodeToolSpec

    for name in ("ann", None, None):
        CodeToolSpec(recorded, name).run_code("1")
    assert recorded.names[0] == "ann" and recorded.names[1] and recorded.names[1] != recorded.names[2]
    with pytest.raises(cellhold.InvalidError, match="CodeToolSpec"):
        CodeToolSpec(recorded, "")


def test_the_backend_of_a_deep_agent_needs_a_thread(recorded: Recorded) -> None:
    from cellhold.adapters.deepagents import SandboxBackend

    backend = SandboxBackend(recorded)
    for call in (lambda: backend.execute("ls"), lambda: backend.upload_files([("a", b"")]), lambda: backend.id):
        with pytest.raises(cellhold.InvalidError, match="no id of a conversation.*thread_id"):
            call()


def test_a_backend_has_files_and_the_whole_output_of_commands(
    client: cellhold.Client, conversations: Conversations
) -> None:
    from cellhold.adapters.deepagents import SandboxBackend

    backend = SandboxBackend(conversations, timeout=60)
    done = backend.execute("seq 100000; echo trouble >&2; exit 3")
    assert done.exit_code == 3 and not done.truncated
    assert done.output.endswith("\n99999\n100000\ntrouble\n") and len(done.output.splitlines()) == 100_001
    assert "deadline of 1s" in backend.execute("sleep 60", timeout=1).output
    paths = ["/workspace/new/a.bin", "/etc/a.bin", "/workspace"]
    written = backend.upload_files([(path, b"\xff\x00") for path in paths])
    assert [response.error for response in written[:1]] == [None] and all(response.error for response in written[1:])
    read = backend.download_files(["/workspace/new/a.bin", "/workspace/none", "/workspace"])
    assert [response.content for response in read] == [b"\xff\x00", None, None]
    assert [response.error for response in read] == [None, "file_not_found", "is_directory"]
    assert backend.id == conversations.session().id
    client.session(backend.id).end()
    assert backend.execute("ls").output == "", "a new session takes the place of one that ended"
