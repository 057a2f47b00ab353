"""A toolset for Pydantic AI. Needs `pip install 'cellhold[pydantic-ai]'`, and Python 3.11."""

from __future__ import annotations

from typing import Any

from pydantic_ai import BinaryContent, FunctionToolset, RunContext, Tool

from ._answer import DESCRIPTION
from ._conversations import Conversations


def code_toolset(
    conversations: Conversations, name: str = "run_code", description: str = DESCRIPTION
) -> FunctionToolset[Any]:
    """Returns a toolset with one tool, which runs Python for an agent. Its result has the text and the figures.

    Each conversation of Pydantic AI has its own session: runs that continue the same message history, or have the same
    `conversation_id`.

    Args:
        conversations: the sessions, which the caller ends
        name: name of the tool for the model
        description: text that explains the tool to the model

    The tool raises cellhold.Error if the server refuses the code or cannot be reached.
    """

    async def run(context: RunContext[Any], code: str) -> list[str | BinaryContent]:
        """Runs code.

        Args:
            context: the run
            code: Python source code
        """
        name = conversations.named(context.conversation_id, 'Run the agent with conversation_id="ann"')
        answer = await conversations.arun(code, name)
        return [answer.text, *(BinaryContent(image.data, media_type=image.mime) for image in answer.images)]

    return FunctionToolset([Tool(run, name=name, description=description)], id=f"cellhold-{name}")
