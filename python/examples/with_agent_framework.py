from agent_framework import Agent

from cellhold.adapters import Conversations
from cellhold.adapters.agent_framework import code_tool


async def ask(model, question):
    async with Conversations() as conversations:
        agent = Agent(model, tools=[code_tool(conversations)])
        return await agent.run(question, session=agent.create_session())
