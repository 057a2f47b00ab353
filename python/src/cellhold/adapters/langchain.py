"""A code tool for LangChain and LangGraph. Needs `pip install 'cellhold[langchain]'`."""

from __future__ import annotations

from typing import Any

from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool, StructuredTool
from pydantic import BaseModel, Field

from ._answer import CODE, DESCRIPTION, Answer
from ._conversations import Conversations


class Code(BaseModel):
    """The argument of the tool."""

    code: str = Field(description=CODE)


def code_tool(conversations: Conversations, name: str = "run_code", description: str = DESCRIPTION) -> BaseTool:
    """Returns a tool that runs Python for an agent.

    Each thread of LangGraph has its own session: `{"configurable": {"thread_id": "ann"}}`. Runs without a thread share
    one session. The message of the tool has the text and the figures; its artifact is the Answer.

    Args:
        conversations: the sessions, which the caller ends
        name: name of the tool for the model
        description: text that explains the tool to the model

    The tool raises cellhold.Error if the server refuses the code or cannot be reached.
    """

    def run(code: str, config: RunnableConfig) -> tuple[list[dict[str, Any]], Answer]:
        return _content(conversations.run(code, thread_of(config)))

    async def arun(code: str, config: RunnableConfig) -> tuple[list[dict[str, Any]], Answer]:
        return _content(await conversations.arun(code, thread_of(config)))

    return StructuredTool.from_function(
        run, arun, name=name, description=description, args_schema=Code, response_format="content_and_artifact"
    )


def thread_of(config: RunnableConfig) -> str:
    """Returns the id of the thread of a run, or "" if it has none."""
    return str((config.get("configurable") or {}).get("thread_id") or "")


def _content(answer: Answer) -> tuple[list[dict[str, Any]], Answer]:
    """Returns the answer as blocks of content, which the integrations of models translate."""
    images = [{"type": "image", "base64": image.base64, "mime_type": image.mime} for image in answer.images]
    return [{"type": "text", "text": answer.text}, *images], answer
