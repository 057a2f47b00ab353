// Uses a server through JupyterLab's own client, @jupyterlab/services. Prints one line for each step. The arguments are the
// URL, the token and the expected subprotocol, which is empty for the older form of messages.

import assert from 'node:assert/strict'
import services from '@jupyterlab/services'

const { KernelAPI, KernelManager, KernelSpecAPI, ServerConnection, SessionAPI, SessionManager } = services
const [, , baseUrl, token, protocol = ''] = process.argv
const settings = (token) => ServerConnection.makeSettings({ baseUrl, wsUrl: baseUrl.replace(/^http/, 'ws'), token, appendToken: true })
const step = (name) => console.log(name)
const want = (got, expected) => assert.deepEqual(got, expected)

// A restart rejects requests for which nobody waits. A browser reports this, and Node would end.
process.on('unhandledRejection', () => {})

// The client writes its connections to the console.
for (const level of ['debug', 'info', 'warn']) console[level] = () => {}

const serverSettings = settings(token)
const kernels = new KernelManager({ serverSettings })
const sessions = new SessionManager({ kernelManager: kernels, serverSettings })

// until waits for a signal whose value fits.
function until(signal, fits) {
  return new Promise((resolve) => {
    const slot = (_, value) => {
      if (!fits(value)) return
      signal.disconnect(slot)
      resolve(value)
    }
    signal.connect(slot)
  })
}

// run runs code, and returns the text, the reply and the types of the messages.
async function run(kernel, code, options = {}) {
  const future = kernel.requestExecute({ code, ...options.request })
  const seen = { text: '', types: [], messages: [] }
  future.onIOPub = (m) => {
    seen.types.push(m.header.msg_type)
    seen.messages.push(m)
    if (m.header.msg_type === 'stream') seen.text += m.content.text
    if (m.header.msg_type === 'execute_result') seen.text += m.content.data['text/plain']
  }
  if (options.input) future.onStdin = (m) => kernel.sendInputReply({ status: 'ok', value: options.input }, m.header)
  seen.reply = (await future.done).content
  return seen
}

async function requests(kernel) {
  want((await kernel.info).language_info.name, 'python')
  let r = await run(kernel, "print('one')\nx = 41\nx + 1")
  want([r.text, r.reply.status], ['one\n42', 'ok'])
  assert(r.types.includes('execute_input'))
  want((await run(kernel, 'x', { request: { silent: true } })).text, '')
  want((await run(kernel, '', { request: { user_expressions: { y: 'x' } } })).reply.user_expressions.y.data['text/plain'], '41')
  step('code')

  want((await kernel.requestComplete({ code: 'impor', cursor_pos: 5 })).content.matches.includes('import'), true)
  want((await kernel.requestInspect({ code: 'x', cursor_pos: 1, detail_level: 0 })).content.found, true)
  want((await kernel.requestIsComplete({ code: 'for i in x:' })).content.status, 'incomplete')
  want((await kernel.requestHistory({ output: false, raw: true, hist_access_type: 'tail', n: 1 })).content.status, 'ok')
  want((await kernel.requestCommInfo({})).content.status, 'ok')
  step('completion, inspection and other requests')

  want((await run(kernel, "input('name? ')", { input: 'ann', request: { allow_stdin: true } })).text.includes('ann'), true)
  step('input')
}

async function failures(kernel) {
  const all = ['1/0', "print('never')", "print('never')"].map((code) => run(kernel, code, { request: { stop_on_error: true } }))
  const [first, ...rest] = await Promise.all(all)
  want([first.reply.ename, ...rest.map((r) => r.reply.status)], ['ZeroDivisionError', 'aborted', 'aborted'])
  step('an error aborts the queued cells')

  const busy = run(kernel, 'import time\nprint("on", flush=True)\ntime.sleep(60)')
  await until(kernel.iopubMessage, (m) => m.header.msg_type === 'stream')
  await kernel.interrupt()
  want((await busy).reply.ename, 'KeyboardInterrupt')
  step('interrupt')
}

async function displays(kernel) {
  const r = await run(kernel, "from IPython.display import display, HTML\nh = display(HTML('<b>1</b>'), display_id=True)\nh.update(HTML('<b>2</b>'))")
  want(r.messages.filter((m) => m.content.data).map((m) => [m.header.msg_type, m.content.data['text/html']]),
    [['display_data', '<b>1</b>'], ['update_display_data', '<b>2</b>']])
  step('displays')

  const opened = new Promise((resolve) => kernel.registerCommTarget('echo', (comm, open) => {
    comm.onMsg = (m) => resolve([open, m])
    comm.send({ n: 1 }, {}, [new Uint8Array([1, 2, 255]).buffer])
  }))
  await run(kernel, `from comm import create_comm
c = create_comm(target_name='echo', data={'hello': 1}, buffers=[b'open'])
def answer(m):
    c.send({'n': m['content']['data']['n'] + 1}, buffers=[bytes(m['buffers'][0]) + b'!'])
c.on_msg(answer)`)
  const [open, answer] = await opened
  want([open.content.data, new TextDecoder().decode(open.buffers[0])], [{ hello: 1 }, 'open'])
  want([answer.content.data, [...new Uint8Array(answer.buffers[0].buffer ?? answer.buffers[0], answer.buffers[0].byteOffset ?? 0, answer.buffers[0].byteLength)]], [{ n: 2 }, [1, 2, 255, 33]])
  step('comm messages with buffers')

  // Such a message has several frames of the WebSocket.
  const large = 'é'.repeat(300000)
  const { messages } = await run(kernel, `from IPython.display import display, HTML\ndisplay(HTML('${large}'))`)
  want(messages.find((m) => m.header.msg_type === 'display_data').content.data['text/html'] === large, true)
  step('large messages')
}

async function connections(kernel) {
  const slow = run(kernel, 'import time\nfor i in range(5):\n    print(i, flush=True)\n    time.sleep(0.3)')
  await until(kernel.iopubMessage, (m) => m.header.msg_type === 'stream')
  kernel._ws.close(4000, 'broken') // as after a lost network
  await kernel.reconnect()
  want((await slow).text, '0\n1\n2\n3\n4\n')
  step('a broken connection loses no output')

  const states = []
  kernel.statusChanged.connect((_, s) => states.push(s))
  await kernel.restart()
  want((await run(kernel, 'x')).reply.ename, 'NameError')
  want(['starting', 'autorestarting'].map((s) => states.includes(s)), [true, false]) // autorestarting is for a kernel that died
  step('restart')

  const restarted = until(kernel.statusChanged, (s) => s === 'autorestarting' || s === 'restarting')
  kernel.requestExecute({ code: 'import os\nos._exit(1)' })
  await restarted
  if (kernel.status !== 'idle') await until(kernel.statusChanged, (s) => s === 'idle')
  want((await run(kernel, '1 + 1')).text, '2')
  step('a kernel that died is started again')
}

async function notebooks() {
  const s = await sessions.startNew({ path: 'n/a.ipynb', name: 'a.ipynb', type: 'notebook', kernel: { name: 'python3' } })
  await s.setPath('n/b.ipynb')
  want((await SessionAPI.listRunning(serverSettings)).map((x) => x.path), ['n/b.ipynb'])
  const first = s.kernel.id
  await s.changeKernel({ name: 'bash' })
  assert.notEqual(s.kernel.id, first)
  want((await run(s.kernel, 'echo $((40 + 2))')).text, '42\n')
  want((await KernelAPI.listRunning(serverSettings)).some((k) => k.id === first), false)
  await s.shutdown()
  want(await SessionAPI.listRunning(serverSettings), [])
  step('sessions')
}

await assert.rejects(KernelAPI.startNew({}, settings('wrong')), (e) => e.response.status === 403)
const specs = await KernelSpecAPI.getSpecs(serverSettings)
want([specs.default, specs.kernelspecs.bash.language], ['python3', 'bash'])
assert(specs.kernelspecs.python3.resources['logo-svg'].endsWith('/kernelspecs/python3/logo-svg.svg'))
step('tokens and kernelspecs')

const kernel = await kernels.startNew({ name: 'python3' })
await kernel.info
want(kernel._ws.protocol, protocol)
await requests(kernel)
await failures(kernel)
await displays(kernel)
await connections(kernel)
await kernel.shutdown()
want((await KernelAPI.listRunning(serverSettings)).map((k) => k.id), [])
await notebooks()
step('shutdown')
process.exit(0)
