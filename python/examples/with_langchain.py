from langchain.agents import create_agent

from cellhold.adapters import Conversations
from cellhold.adapters.langchain import code_tool


def ask(model, question):
    with Conversations() as conversations:
        agent = create_agent(model, [code_tool(conversations)])
        thread = {"configurable": {"thread_id": "ann"}}
        return agent.invoke({"messages": [("user", question)]}, thread)
