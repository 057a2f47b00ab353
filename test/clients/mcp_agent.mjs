// Uses the tools of cellhold with an official TypeScript client of MCP, and ends with an error if one does not work.
//
//     mcp_agent.mjs PACKAGE http URL TOKEN
//     mcp_agent.mjs PACKAGE stdio COMMAND ARGUMENT…
//
// PACKAGE is sdk (version 1, older versions of the protocol) or client (version 2). The last line of output is the
// version of the protocol.

import assert from 'node:assert/strict';

const [library, transport, ...args] = process.argv.slice(2);

/** Imports the client of a package, and returns how to call its tools. */
async function load() {
  if (library === 'sdk') {
    const { Client } = await import('@modelcontextprotocol/sdk/client/index.js');
    const { StreamableHTTPClientTransport } = await import('@modelcontextprotocol/sdk/client/streamableHttp.js');
    const { StdioClientTransport } = await import('@modelcontextprotocol/sdk/client/stdio.js');
    const client = new Client({ name: 'test', version: '1' });
    return { client, StreamableHTTPClientTransport, StdioClientTransport, call: (params, options) => client.callTool(params, undefined, options) };
  }
  const { Client, StreamableHTTPClientTransport } = await import('@modelcontextprotocol/client');
  const { StdioClientTransport } = await import('@modelcontextprotocol/client/stdio');
  const client = new Client({ name: 'test', version: '1' }, { versionNegotiation: { mode: 'auto' } });
  return { client, StreamableHTTPClientTransport, StdioClientTransport, call: (params, options) => client.callTool(params, options) };
}

const { client, StreamableHTTPClientTransport, StdioClientTransport, call } = await load();

const run = (code, options) => call({ name: 'run_code', arguments: { code } }, options);
const text = (result) => result.content.filter((part) => part.type === 'text').map((part) => part.text).join('');

/** Cancels a call when its code has printed a line. */
async function cancelRunningCode() {
  const abort = new AbortController();
  let printed = false;
  const onprogress = (progress) => {
    if (progress.message === 'started') {
      printed = true;
      abort.abort('not needed any more');
    }
  };
  const running = run("print('started'); import time; time.sleep(600)", { onprogress, signal: abort.signal });
  await assert.rejects(running, 'a cancelled call');
  assert.ok(printed, 'progress with the last line of output');
}

async function story() {
  const { tools } = await client.listTools();
  const tool = (name) => tools.find((tool) => tool.name === name);
  assert.ok(tool('run_code'), 'the tool run_code');
  assert.equal(tool('read_file').annotations.readOnlyHint, true, 'read_file only reads');

  assert.match(text(await run('birds = [3.7, 5.1, 4.4]')), /· ok ·/, 'a cell without output');
  assert.match(text(await run('max(birds)')), /^5\.1\n/, 'a variable of an earlier call');

  const failed = await run("birds['x']");
  assert.ok(failed.isError, 'an exception');
  assert.match(text(failed), /TypeError/, 'an exception');

  const plot = await run("import matplotlib.pyplot as plt; plt.plot(birds); plt.savefig('birds.png'); plt.show()");
  const images = plot.content.filter((part) => part.type === 'image');
  assert.deepEqual(images.map((image) => image.mimeType), ['image/png'], 'a figure');
  assert.equal(Buffer.from(images[0].data, 'base64').subarray(1, 4).toString(), 'PNG', 'a figure');
  const links = plot.content.filter((part) => part.type === 'resource_link');
  assert.deepEqual(links.map((link) => link.name), ['birds.png'], 'a link to a written file');
  const read = await client.readResource({ uri: links[0].uri });
  assert.equal(Buffer.from(read.contents[0].blob, 'base64').subarray(1, 4).toString(), 'PNG', 'the linked file');

  await cancelRunningCode();
  assert.match(text(await run('len(birds)')), /^3\n/, 'variables after a cancelled call');

  const wrote = await call({ name: 'write_file', arguments: { path: 'notes.txt', content: 'ring 7\n' } });
  assert.ok(!wrote.isError, 'write_file');
  assert.match(text(await call({ name: 'run_command', arguments: { command: 'wc -w < notes.txt' } })), /^2\n/, 'run_command');
}

const connection =
  transport === 'stdio'
    ? new StdioClientTransport({ command: args[0], args: args.slice(1) })
    : new StreamableHTTPClientTransport(new URL(args[0]), { requestInit: { headers: { Authorization: `Bearer ${args[1]}` } } });
let version;
if (library === 'sdk') {
  const set = connection.setProtocolVersion?.bind(connection);
  connection.setProtocolVersion = (chosen) => {
    version = chosen;
    set?.(chosen);
  };
}
await client.connect(connection);
await story();
console.log(version ?? client.getNegotiatedProtocolVersion());
await client.close();
