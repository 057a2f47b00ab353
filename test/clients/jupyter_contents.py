"""Saves and opens notebooks with nbformat over a server's contents API. Prints one line for each step.

The arguments are the URL and the token.
"""

import json
import sys
import urllib.error
import urllib.request

import nbformat
from nbformat import v4

url, token = sys.argv[1:]


def step(name):
    print(name, flush=True)


def want(got, expected):
    assert got == expected, f"got {got!r}, want {expected!r}"


def call(method, path, body=None):
    request = urllib.request.Request(url + path, method=method, data=None if body is None else json.dumps(body).encode(), headers={"Authorization": "token " + token})
    with urllib.request.urlopen(request, timeout=120) as answer:
        return answer.read()


def contents(method, path, body=None):
    text = call(method, "/api/contents/" + path, body)
    return json.loads(text) if text else None


kernel = json.loads(call("POST", "/api/kernels", {"name": "python3"}))
folder = contents("GET", "")["content"][0]["path"]
outputs = [
    v4.new_output("stream", text="é\u0085\r\nb"),
    v4.new_output("display_data", {"text/plain": "a\nb", "image/png": "iVBORw0KGgo=\n", "application/json": {"z": [1.5, 10**30], "a": []}, "image/svg+xml": "<svg>\n</svg>"}),
    v4.new_output("execute_result", {"text/html": "<b>\n</b>", "application/vnd.x+json": ["a\n", "b"]}, execution_count=3),
    v4.new_output("error", ename="E", evalue="v", traceback=["a", "b"]),
]
notebook = v4.new_notebook(cells=[v4.new_markdown_cell("# é\n\ntext"), v4.new_code_cell("x = 1\nx", outputs=outputs, metadata={"tags": ["b", "a"]}), v4.new_raw_cell("")],
                           metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}, "widgets": {"b": {"c": "\"\\\n\t\u0001"}, "a": None}})
nbformat.validate(notebook)
want(contents("PUT", folder + "/a/n.ipynb", {"type": "notebook", "format": "json", "content": notebook})["type"], "notebook")
stored = call("GET", f"/files/{folder}/a/n.ipynb").decode()
want(stored, nbformat.writes(notebook) + "\n")
step("the file has the bytes that nbformat writes")

opened = nbformat.from_dict(contents("GET", folder + "/a/n.ipynb")["content"])
nbformat.validate(opened)
want(opened, nbformat.reads(stored, as_version=4))
step("the notebook is the one that nbformat reads")

try:
    contents("PUT", folder + "/old.ipynb", {"type": "notebook", "content": {"nbformat": 3, "worksheets": []}})
    raise AssertionError("a notebook of format 3 was saved")
except urllib.error.HTTPError as error:
    want([error.code, json.load(error)["reason"]], [400, "bad notebook"])
call("DELETE", "/api/kernels/" + kernel["id"])
step("done")
