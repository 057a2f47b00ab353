"""Adapters: code execution for the agents of other frameworks. Each module needs the extra of the same name.

| Module | Extra | What it has |
|---|---|---|
| `langchain` | `langchain` | `code_tool`, for LangChain and LangGraph |
| `deepagents` | `deepagents` | `SandboxBackend`, the sandbox of a deep agent |
| `openai_agents` | `openai-agents` | `code_tool`, for the OpenAI Agents SDK |
| `pydantic_ai` | `pydantic-ai` | `code_toolset` |
| `llama_index` | `llama-index` | `CodeToolSpec` |
| `agent_framework` | `agent-framework` | `code_tool`, for the Microsoft Agent Framework |
| `smolagents` | `smolagents` | `SandboxExecutor`, the Python executor of a `CodeAgent` |
| `inspect_ai` | `inspect-ai` | the sandbox `cellhold`, and `run_code` |

`Conversations` holds the sessions, one for each conversation of an agent, and ends them.
"""

from ._answer import Answer, Image
from ._conversations import Conversations

__all__ = ["Answer", "Conversations", "Image"]
