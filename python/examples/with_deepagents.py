from deepagents import create_deep_agent

from cellhold.adapters import Conversations
from cellhold.adapters.deepagents import SandboxBackend
from cellhold.adapters.langchain import code_tool


def ask(model, question):
    with Conversations() as conversations:
        agent = create_deep_agent(model, [code_tool(conversations)], backend=SandboxBackend(conversations))
        return agent.invoke({"messages": [("user", question)]}, {"configurable": {"thread_id": "ann"}})
