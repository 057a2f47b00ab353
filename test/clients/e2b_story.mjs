// Uses a server through the JavaScript SDKs of E2B, with their environment variables. Prints one line for each step.

import assert from 'node:assert/strict'
import { Sandbox as Base, NotFoundError, AuthenticationError, InvalidArgumentError, CommandExitError, TimeoutError, FileType } from 'e2b'
import { Sandbox } from '@e2b/code-interpreter'

const step = (name) => console.log(name)
const want = (got, expected) => assert.deepEqual(got, expected)
const refused = (kind, promise) => assert.rejects(promise, kind)
const bytes = (text) => new TextEncoder().encode(text)

async function until(condition) {
  for (let i = 0; i < 200; i++) {
    if (await condition()) return
    await new Promise((r) => setTimeout(r, 100))
  }
  throw new Error('the condition did not become true')
}

async function runCode(s) {
  const seen = []
  let e = await s.runCode("import sys\nprint('one')\nprint('two', file=sys.stderr)\nx = 41\nx + 1", {
    onStdout: (m) => seen.push(['out', m.line]),
    onStderr: (m) => seen.push(['err', m.line]),
    onResult: (r) => seen.push(['result', r.text]),
  })
  want([e.text, e.logs.stdout, e.logs.stderr, e.executionCount], ['42', ['one\n'], ['two\n'], 2])
  want(seen.map((x) => x[0]).sort(), ['err', 'out', 'result'])
  want((await s.runCode('x')).text, '41')
  e = await s.runCode('1 / 0', { onError: (x) => seen.push(x.name) })
  want([e.error.name, seen.at(-1)], ['ZeroDivisionError', 'ZeroDivisionError'])
  step('runCode with callbacks')

  e = await s.runCode("import matplotlib.pyplot as plt\nplt.plot([1, 2], [3, 4], label='a')\nplt.title('T')\nplt.show()")
  assert(e.results[0].png.startsWith('iVBOR'))
  want([e.results[0].chart.type, e.results[0].chart.title, e.results[0].chart.elements[0].points], ['line', 'T', [[1, 3], [2, 4]]])
  e = await s.runCode("import pandas as pd\npd.DataFrame({'a': [1, 2]})")
  want(e.results[0].data, { a: [1, 2] })
  e = await s.runCode("from IPython.display import display, JSON, HTML\ndisplay(JSON({'a': 1}))\ndisplay(HTML('<b>h</b>'))")
  want([e.results[0].json, e.results[1].html], [{ a: 1 }, '<b>h</b>'])
  step('results, charts and tables')

  want((await s.runCode("import os\nos.environ['CELL'], os.environ['SESSION'], os.getcwd()", { envs: { CELL: 'c' } })).text, "('c', 'yes', '/home/user')")
  want((await s.runCode("os.environ.get('CELL')")).text, undefined)
  const c = await s.createCodeContext({ cwd: '/tmp' })
  want((await s.runCode('os = 5; os', { context: c })).text, '5')
  assert((await s.listCodeContexts()).some((x) => x.id === c.id))
  await s.restartCodeContext(c)
  want((await s.runCode('os', { context: c })).error.name, 'NameError')
  await s.removeCodeContext(c)
  want((await s.runCode('echo $SESSION', { language: 'bash' })).logs.stdout.join(''), 'yes\n')
  step('environment and contexts')

  await refused(TimeoutError, s.runCode('import time\ntime.sleep(60)', { timeoutMs: 2000 }))
  want((await s.runCode("'free'", { timeoutMs: 20000 })).text, 'free')
  step('a client that leaves interrupts its code')
}

async function files(s) {
  const name = 'a/b/ä "q" %.txt'
  want((await s.files.write(name, 'hello')).path, '/home/user/' + name)
  want(await s.files.read(name), 'hello')
  want([...(await s.files.read(name, { format: 'bytes' }))], [...bytes('hello')])
  want(await (await s.files.read(name, { format: 'blob' })).text(), 'hello')
  want(await new Response(await s.files.read(name, { format: 'stream' })).text(), 'hello')
  await s.files.write('empty', '')
  want(await s.files.read('empty'), '')
  await s.files.write('zip.txt', 'z'.repeat(100000), { gzip: true })
  want((await s.files.read('zip.txt')).length, 100000)
  await s.files.write('stream.txt', new Blob(['from a stream']).stream())
  want(await s.files.read('stream.txt'), 'from a stream')
  want((await s.files.write([{ path: 'm/1.txt', data: '1' }, { path: 'm/n/2 ü.txt', data: '2' }])).map((x) => x.path), ['/home/user/m/1.txt', '/home/user/m/n/2 ü.txt'])
  want((await s.files.list('m', { depth: 2 })).map((x) => [x.name, x.type]), [['1.txt', FileType.FILE], ['n', FileType.DIR], ['2 ü.txt', FileType.FILE]])
  await refused(NotFoundError, s.files.read('missing'))
  await refused(InvalidArgumentError, s.files.list('m/1.txt'))
  want([await s.files.makeDir('d'), await s.files.makeDir('d')], [true, false])
  want((await s.files.rename('m/1.txt', 'new/dir/1.txt')).path, '/home/user/new/dir/1.txt')
  want([await s.files.exists('m/1.txt'), await s.files.exists('new/dir/1.txt')], [false, true])
  want((await s.files.getInfo('new/dir/1.txt')).permissions, '-rw-r--r--')
  await s.files.remove('new')
  want(await s.files.exists('new'), false)
  step('files')

  want(await (await fetch(await s.downloadUrl('zip.txt', { useSignatureExpiration: 60 }))).text(), 'z'.repeat(100000))
  const form = new FormData()
  form.append('file', new Blob(['signed']), 'up.txt')
  want((await fetch(await s.uploadUrl('up.txt'), { method: 'POST', body: form })).status, 200)
  want(await s.files.read('up.txt'), 'signed')
  step('signed URLs')

  const seen = []
  await s.files.write('w/old.txt', '1')
  const watch = await s.files.watchDir('w', (e) => { seen.push(e.type + ' ' + e.name) })
  await s.files.write('w/old.txt', '2')
  await s.files.write('w/new.txt', '3')
  await until(() => seen.includes('create new.txt') && seen.includes('write old.txt'))
  assert(!seen.includes('create old.txt'), seen)
  await watch.stop()
  step('watch')
}

async function commands(s) {
  const r = await s.commands.run('echo out; echo err >&2; echo $SESSION $MINE', { envs: { MINE: 'm' } })
  want([r.stdout, r.stderr, r.exitCode], ['out\nyes m\n', 'err\n', 0])
  await assert.rejects(s.commands.run('exit 3'), (e) => e instanceof CommandExitError && e.exitCode === 3)
  await refused(TimeoutError, s.commands.run('sleep 60', { timeoutMs: 1000 }))
  let c = await s.commands.run('cat; echo done', { background: true, stdin: true })
  await s.commands.sendStdin(c.pid, 'a\n')
  assert((await s.commands.list()).some((p) => p.pid === c.pid))
  await c.closeStdin()
  want((await c.wait()).stdout, 'a\ndone\n')
  c = await s.commands.run('read x; echo got $x; sleep 60', { background: true, stdin: true })
  await c.disconnect()
  const out = []
  const again = await s.commands.connect(c.pid, { onStdout: (d) => { out.push(d) } })
  await s.commands.sendStdin(again.pid, 'y\n')
  await until(() => out.join('') === 'got y\n')
  want([await again.kill(), await s.commands.kill(c.pid)], [true, false])
  step('commands, input, list, connect and kill')

  const seen = []
  const terminal = await s.pty.create({ cols: 80, rows: 24, onData: (d) => { seen.push(Buffer.from(d).toString()) } })
  await s.pty.resize(terminal.pid, { cols: 100, rows: 30 })
  await s.pty.sendInput(terminal.pid, bytes('stty size; exit\n'))
  await terminal.wait()
  assert(seen.join('').includes('30 100'), seen.join(''))
  step('terminal')
}

async function lifecycle() {
  const metadata = { story: 'js ä&= ' + Date.now() }
  const s = await Sandbox.create({ timeoutMs: 300000, metadata, envs: { SESSION: 'yes' } })
  assert(await s.isRunning())
  const info = await s.getInfo()
  want([info.sandboxId, info.metadata, info.state], [s.sandboxId, metadata, 'running'])
  await s.setTimeout(600000)
  assert((await s.getInfo()).endAt - info.endAt > 200000)
  want((await Sandbox.list({ query: { metadata, state: ['running'] } }).nextItems()).map((x) => x.sandboxId), [s.sandboxId])
  const other = await Sandbox.create({ timeoutMs: 60000 })
  const ids = []
  for (const pages = Sandbox.list({ limit: 1 }); pages.hasNext; ) ids.push(...(await pages.nextItems()).map((x) => x.sandboxId))
  assert(ids.includes(s.sandboxId) && ids.includes(other.sandboxId))
  assert((await s.getMetrics())[0].memUsed > 0)
  want([await other.kill(), await other.kill(), await other.isRunning()], [true, false, false])
  want((await (await Sandbox.connect(s.sandboxId)).runCode('1')).text, '1')
  await refused(NotFoundError, Sandbox.connect('s0123456789abcdef'))
  await refused(AuthenticationError, Sandbox.create({ apiKey: 'e2b_' + '0'.repeat(40) }))
  step('create, connect, list, timeouts, metrics and kill')
  return s
}

async function pauses(s) {
  await s.runCode("kept = 'memory'")
  want(await s.pause(), true)
  want([await s.isRunning(), (await s.getInfo()).state, await s.pause()], [false, 'paused', false])
  await s.connect()
  want((await s.runCode('kept')).text, 'memory')
  const [fork] = await s.fork()
  want((await fork.runCode('kept')).text, 'memory')
  await fork.kill()
  const snapshot = await s.createSnapshot()
  const copy = await Sandbox.create(snapshot.snapshotId)
  want((await copy.runCode('kept')).text, 'memory')
  await copy.kill()
  want((await Sandbox.listSnapshots({ sandboxId: s.sandboxId }).nextItems()).map((x) => x.snapshotId), [snapshot.snapshotId])
  want(await Sandbox.deleteSnapshot(snapshot.snapshotId), true)
  step('pause, resume, fork and snapshots')

  const auto = await Sandbox.create({ timeoutMs: 3000, lifecycle: { onTimeout: 'pause', autoResume: true } })
  await auto.runCode('kept = 1')
  await until(async () => (await auto.getInfo()).state === 'paused')
  want((await auto.runCode('kept')).text, '1')
  await auto.kill()
  step('auto-pause and auto-resume')
}

async function base() {
  const s = await Base.create({ timeoutMs: 60000, allowInternetAccess: false })
  want((await s.commands.run('whoami; pwd')).stdout, 'user\n/home/user\n')
  await s.kill()
  await assert.rejects(s.commands.run('true'))
  const t = await Base.create({ timeoutMs: 60000, network: { allowOut: ['example.org'], denyOut: ['0.0.0.0/0'] } })
  want((await t.getInfo()).network.allowOut, ['example.org'])
  await t.kill()
  want(await (await Base.create({ timeoutMs: 60000, allowInternetAccess: true })).kill(), true)
  await assert.rejects(Base.create({ network: { allowOut: ['10.0.0.0/8'] } }), /host names/)
  await assert.rejects(s.updateNetwork({ allowOut: ['example.org'] }))
  step('base, and the network')
}

async function killDuringRun() {
  const s = await Sandbox.create({ timeoutMs: 60000 })
  let begun
  const started = new Promise((resolve) => { begun = resolve })
  const run = s.runCode("print('begun', flush=True)\nimport time\ntime.sleep(60)", { onStdout: begun })
  const rejected = assert.rejects(run, /killed/)
  await started
  await s.kill()
  await rejected
  step('a kill during a run')
}

const s = await lifecycle()
await runCode(s)
await files(s)
await commands(s)
await pauses(s)
await s.kill()
await base()
await killDuringRun()
process.exit(0)
