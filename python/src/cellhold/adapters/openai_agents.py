"""A code tool for the OpenAI Agents SDK. Needs `pip install 'cellhold[openai-agents]'`."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from agents import FunctionTool, ToolOutputImage, ToolOutputText
from agents.tool_context import ToolContext

from ._answer import CODE, DESCRIPTION
from ._conversations import Conversations

_SCHEMA = {
    "type": "object",
    "properties": {"code": {"type": "string", "description": CODE}},
    "required": ["code"],
    "additionalProperties": False,
}


_REMEDY = 'Run the agent with run_config=RunConfig(group_id="ann"), or give code_tool the argument conversation'


def group_of(context: ToolContext[Any]) -> str | None:
    """Returns the group_id of the run's RunConfig, which links the runs of one conversation, or None."""
    return getattr(context.run_config, "group_id", None)


def code_tool(
    conversations: Conversations,
    name: str = "run_code",
    description: str = DESCRIPTION,
    conversation: Callable[[ToolContext[Any]], object] = group_of,
) -> FunctionTool:
    """Returns a tool that runs Python for an agent. Its output has the text and the figures.

    Each conversation has its own session.

    Args:
        conversations: the sessions, which the caller ends
        name: name of the tool for the model
        description: text that explains the tool to the model
        conversation: returns the id of the conversation of a call. Default: `RunConfig(group_id=…)`

    The tool raises cellhold.Error if the server refuses the code or cannot be reached, and InvalidError if the id is
    None or "", unless the Conversations are shared.
    """

    async def run(context: ToolContext[Any], arguments: str) -> list[ToolOutputText | ToolOutputImage] | str:
        try:
            code = json.loads(arguments)["code"]
        except (ValueError, KeyError, TypeError):
            code = None
        if not isinstance(code, str):
            return 'Invalid arguments: use a JSON object with the text "code".'
        answer = await conversations.arun(code, conversations.named(conversation(context), _REMEDY))
        return [ToolOutputText(text=answer.text), *(ToolOutputImage(image_url=image.url) for image in answer.images)]

    return FunctionTool(name=name, description=description, params_json_schema=_SCHEMA, on_invoke_tool=run)
