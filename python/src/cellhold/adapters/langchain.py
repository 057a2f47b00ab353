"""A code tool for LangChain and LangGraph. Needs `pip install 'cellhold[langchain]'`."""

from __future__ import annotations

from typing import Any

from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool, StructuredTool
from pydantic import BaseModel, Field

from ._answer import CODE, DESCRIPTION, Answer
from ._conversations import Conversations

REMEDY = 'Call the agent with the config {"configurable": {"thread_id": "ann"}}'
"""How a run gets a thread."""


class Code(BaseModel):
    """The argument of the tool."""

    code: str = Field(description=CODE)


def code_tool(conversations: Conversations, name: str = "run_code", description: str = DESCRIPTION) -> BaseTool:
    """Returns a tool that runs Python for an agent.

    Each thread of LangGraph has its own session: `{"configurable": {"thread_id": "ann"}}`. The message of the tool has
    the text and the figures; its artifact is the Answer.

    Args:
        conversations: the sessions, which the caller ends
        name: name of the tool for the model
        description: text that explains the tool to the model

    The tool raises cellhold.Error if the server refuses the code or cannot be reached, and InvalidError if a run has no
    thread, unless the Conversations are shared.
    """

    def run(code: str, config: RunnableConfig) -> tuple[list[dict[str, Any]], Answer]:
        return _content(conversations.run(code, conversations.named(thread_of(config), REMEDY)))

    async def arun(code: str, config: RunnableConfig) -> tuple[list[dict[str, Any]], Answer]:
        return _content(await conversations.arun(code, conversations.named(thread_of(config), REMEDY)))

    return StructuredTool.from_function(
        run, arun, name=name, description=description, args_schema=Code, response_format="content_and_artifact"
    )


def thread_of(config: RunnableConfig) -> object:
    """Returns the id of the thread of a run, or None if it has none."""
    return (config.get("configurable") or {}).get("thread_id")


def _content(answer: Answer) -> tuple[list[dict[str, Any]], Answer]:
    """Returns the answer as blocks of content, which the integrations of models translate."""
    images = [{"type": "image", "base64": image.base64, "mime_type": image.mime} for image in answer.images]
    return [{"type": "text", "text": answer.text}, *images], answer
