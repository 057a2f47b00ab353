"""A code tool for the Microsoft Agent Framework. Needs `pip install 'cellhold[agent-framework]'`.

The Agent Framework is the successor of AutoGen, whose last release is of September 2025.
"""

from __future__ import annotations

from typing import Annotated

from agent_framework import Content, FunctionInvocationContext, FunctionTool
from pydantic import Field

from ._answer import CODE, DESCRIPTION
from ._conversations import Conversations


def code_tool(conversations: Conversations, name: str = "run_code", description: str = DESCRIPTION) -> FunctionTool:
    """Returns a tool that runs Python for an agent. Its result has the text and the figures.

    Each AgentSession has its own session here: `agent.run(question, session=agent.create_session())`.

    Args:
        conversations: the sessions, which the caller ends
        name: name of the tool for the model
        description: text that explains the tool to the model

    The tool raises cellhold.Error if the server refuses the code or cannot be reached, and InvalidError if a run has no
    AgentSession, unless the Conversations are shared.
    """

    async def run(code: Annotated[str, Field(description=CODE)], context: FunctionInvocationContext) -> list[Content]:
        id = None if context.session is None else context.session.session_id
        name = conversations.named(id, "Run the agent with session=agent.create_session()")
        answer = await conversations.arun(code, name)
        return [
            Content.from_text(answer.text),
            *(Content.from_data(image.data, image.mime) for image in answer.images),
        ]

    return FunctionTool(name=name, description=description, func=run)
