from agents import Agent, RunConfig, Runner

from cellhold.adapters import Conversations
from cellhold.adapters.openai_agents import code_tool


async def ask(model, question):
    async with Conversations() as conversations:
        agent = Agent("analyst", model=model, tools=[code_tool(conversations)])
        return await Runner.run(agent, question, run_config=RunConfig(group_id="ann"))
