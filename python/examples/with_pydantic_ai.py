from pydantic_ai import Agent

from cellhold.adapters import Conversations
from cellhold.adapters.pydantic_ai import code_toolset


async def ask(model, question):
    async with Conversations() as conversations:
        agent = Agent(model, toolsets=[code_toolset(conversations)])
        return await agent.run(question, conversation_id="ann")
