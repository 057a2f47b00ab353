from llama_index.core.agent.workflow import FunctionAgent

from cellhold.adapters import Conversations
from cellhold.adapters.llama_index import CodeToolSpec


async def ask(model, question):
    async with Conversations() as conversations:
        tools = CodeToolSpec(conversations, "ann").to_tool_list()
        return await FunctionAgent(llm=model, tools=tools).run(question)
