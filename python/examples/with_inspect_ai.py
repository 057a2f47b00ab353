from inspect_ai import Task, eval
from inspect_ai.dataset import Sample
from inspect_ai.solver import generate, use_tools

from cellhold.adapters.inspect_ai import run_code


def ask(model, question):
    task = Task([Sample(question)], solver=[use_tools(run_code()), generate()], sandbox="cellhold")
    return eval(task, model=model)
