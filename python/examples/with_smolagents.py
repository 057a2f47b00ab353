from smolagents import CodeAgent

from cellhold.adapters.smolagents import SandboxExecutor


def ask(model, question):
    executor = SandboxExecutor()
    figures = [executor.show_figures]
    with CodeAgent([], model, executor=executor, additional_authorized_imports=["*"], step_callbacks=figures) as agent:
        agent.run(question)
        return agent.memory.steps
