"""Uses the tools of cellhold with the official Python client of MCP, and ends with an error if one does not work.

    mcp_agent.py MODE http URL TOKEN
    mcp_agent.py MODE stdio COMMAND ARGUMENT…

MODE is the client's: auto uses the newest version of the protocol, legacy the older versions with MCP sessions.
The last line of output is the version of the protocol.
"""

import asyncio
import base64
import sys

import httpx2
from mcp import Client
from mcp.client.stdio import StdioServerParameters
from mcp.client.streamable_http import streamable_http_client


def text(result):
    return "".join(part.text for part in result.content if part.type == "text")


def check(step, ok, got):
    if not ok:
        sys.exit(f"{step}: got {got!r}")


async def run(client, code, **options):
    return await client.call_tool("run_code", {"code": code}, **options)


async def cancel_running_code(client):
    """Cancels a call when its code has printed a line, and returns when the client has given up the call."""
    printed = asyncio.Event()

    async def progress(_progress, _total, message):
        if message == "started":
            printed.set()

    call = asyncio.create_task(run(client, "print('started'); import time; time.sleep(600)", progress_callback=progress))
    seen = asyncio.create_task(printed.wait())
    await asyncio.wait([call, seen], timeout=60, return_when=asyncio.FIRST_COMPLETED)
    check("progress with the last line of output", printed.is_set() and not call.done(), call)
    call.cancel()
    await asyncio.wait([call])


async def story(client):
    tools = {tool.name: tool for tool in (await client.list_tools()).tools}
    check("the tool run_code", "run_code" in tools, list(tools))
    check("read_file only reads", tools["read_file"].annotations.read_only_hint, tools["read_file"])

    first = await run(client, "birds = [3.7, 5.1, 4.4]")
    check("a cell without output", not first.is_error and "· ok ·" in text(first), first)
    result = await run(client, "max(birds)")
    check("a variable of an earlier call", text(result).startswith("5.1\n"), result)

    failed = await run(client, "birds['x']")
    check("an exception", failed.is_error and "TypeError" in text(failed) and "\x1b" not in text(failed), failed)

    plot = await run(client, "import matplotlib.pyplot as plt; plt.plot(birds); plt.savefig('birds.png'); plt.show()")
    images = [part for part in plot.content if part.type == "image"]
    check("a figure", len(images) == 1 and images[0].mime_type == "image/png", plot)
    check("a PNG", base64.b64decode(images[0].data).startswith(b"\x89PNG"), images[0].data[:20])
    links = [part for part in plot.content if part.type == "resource_link"]
    check("a link to a written file", [link.name for link in links] == ["birds.png"], links)
    read = await client.read_resource(links[0].uri)
    check("the linked file", base64.b64decode(read.contents[0].blob).startswith(b"\x89PNG"), read)

    await cancel_running_code(client)
    after = await run(client, "len(birds)")
    check("variables after a cancelled call", text(after).startswith("3\n"), after)

    wrote = await client.call_tool("write_file", {"path": "notes.txt", "content": "ring 7\n"})
    check("write_file", not wrote.is_error, wrote)
    counted = await client.call_tool("run_command", {"command": "wc -w < notes.txt"})
    check("run_command", text(counted).startswith("2\n"), counted)


def server(transport, arguments, http):
    if transport == "stdio":
        return StdioServerParameters(command=arguments[0], args=arguments[1:])
    return streamable_http_client(arguments[0], http_client=http)


async def main(mode, transport, *arguments):
    headers = {"Authorization": f"Bearer {arguments[1]}"} if transport == "http" else {}
    async with httpx2.AsyncClient(headers=headers, timeout=120) as http:
        async with Client(server(transport, arguments, http), mode=mode) as client:
            await story(client)
            print(client.protocol_version)


asyncio.run(main(*sys.argv[1:]))
