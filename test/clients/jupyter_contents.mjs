// Uses the files of a server through JupyterLab's own client, @jupyterlab/services. Prints one line for each step. The
// arguments are the URL and the token.

import assert from 'node:assert/strict'
import services from '@jupyterlab/services'

const { ContentsManager, KernelManager, ServerConnection } = services
const [, , baseUrl, token] = process.argv
const serverSettings = ServerConnection.makeSettings({ baseUrl, wsUrl: baseUrl.replace(/^http/, 'ws'), token, appendToken: true })
const step = (name) => console.log(name)
const want = (got, expected) => assert.deepEqual(got, expected)
for (const level of ['debug', 'info', 'warn']) console[level] = () => {} // the client writes its connections to the console
globalThis.document ??= { cookie: '' } // the client looks for a cookie in the page

const contents = new ContentsManager({ serverSettings })
const names = (model) => model.content.map((m) => m.name)
const refused = (promise, status) => assert.rejects(promise, (e) => e.response?.status === status && e.message.length > 10)

async function run(kernel, code) {
  const future = kernel.requestExecute({ code })
  let text = ''
  future.onIOPub = (m) => { text += m.content.text ?? m.content.data?.['text/plain'] ?? '' }
  want((await future.done).content.status, 'ok')
  return text.trim()
}

async function files(kernel, folder) {
  await run(kernel, "open('data.csv', 'w').write('a,b\\n1,2\\n'); import os; os.makedirs('d/e')")
  const model = await contents.get(folder)
  want([model.type, names(model)], ['directory', ['d', 'data.csv']])
  const csv = await contents.get(`${folder}/data.csv`, { content: true, hash: true })
  want([csv.content, csv.format, csv.mimetype, csv.size, csv.hash.length], ['a,b\n1,2\n', 'text', 'text/csv', 8, 64])
  const saved = await contents.save(`${folder}/d/größe ?.txt`, { type: 'file', format: 'text', content: 'é\n' })
  want([saved.content, saved.type], [null, 'file'])
  want(await run(kernel, "open('d/größe ?.txt').read()"), "'é\\n'")
  const again = await contents.get(saved.path, { content: false })
  want([again.last_modified, again.hash], [saved.last_modified, null])
  step('files')

  const made = await contents.newUntitled({ path: `${folder}/d`, type: 'file', ext: '.py' })
  want(made.path, `${folder}/d/untitled.py`)
  const renamed = await contents.rename(made.path, `${folder}/main.py`)
  want([renamed.name, (await contents.copy(renamed.path, folder)).name], ['main.py', 'main-Copy1.py'])
  want((await contents.newUntitled({ path: folder, type: 'directory' })).name, 'Untitled Folder')
  await contents.delete(`${folder}/Untitled Folder`)
  await contents.delete(`${folder}/d`)
  want(names(await contents.get(folder)), ['data.csv', 'main-Copy1.py', 'main.py'])
  step('names')

  await refused(contents.get(`${folder}/nope`), 404)
  await refused(contents.get(`${folder}/main.py`, { type: 'directory' }), 400)
  await refused(contents.rename(`${folder}/main.py`, `${folder}/data.csv`), 409)
  await refused(contents.newUntitled({ type: 'notebook' }), 403)
  await run(kernel, "os.mkfifo('pipe'); os.symlink('/etc/hostname', 'out'); os.symlink('/proc/self/environ', 'env')")
  await refused(contents.get(`${folder}/pipe`), 400)
  want(names(await contents.get(folder)).includes('pipe'), false)
  step('errors')
}

async function notebooks(kernel, folder) {
  const made = await contents.newUntitled({ path: folder, type: 'notebook' })
  want(made.path, `${folder}/Untitled.ipynb`)
  const model = await contents.get(made.path, { type: 'notebook', content: true, format: 'text' })
  model.content.cells.push({ cell_type: 'code', id: 'a', metadata: { trusted: true }, source: 'x = 1\nx', outputs: [], execution_count: null })
  await contents.save(made.path, { type: 'notebook', format: 'json', content: model.content })
  want(await run(kernel, "import json; n = json.load(open('Untitled.ipynb')); n['cells'][0]['source'], n['cells'][0]['metadata']"), "(['x = 1\\n', 'x'], {})")
  want((await contents.get(made.path)).content.cells[0].source, 'x = 1\nx')
  step('notebooks')

  const point = await contents.createCheckpoint(made.path)
  want((await contents.listCheckpoints(made.path)).map((c) => c.id), [point.id])
  await contents.save(made.path, { type: 'notebook', format: 'json', content: { ...model.content, cells: [] } })
  await contents.restoreCheckpoint(made.path, point.id)
  want((await contents.get(made.path)).content.cells.length, 1)
  await contents.deleteCheckpoint(made.path, point.id)
  want(await contents.listCheckpoints(made.path), [])
  step('checkpoints')

  await run(kernel, "open('bad.ipynb', 'w').write('{')")
  await refused(contents.get(`${folder}/bad.ipynb`), 400)
  step('a broken notebook')
}

// JupyterLab's file browser sends a file in parts of 1 MiB.
async function large(kernel, folder) {
  const part = 1 << 20
  const bytes = Buffer.alloc(5 * part + 7, 'abcdefg')
  for (let start = 0, chunk = 1; start < bytes.length; start += part, chunk++) {
    const content = bytes.subarray(start, start + part).toString('base64')
    const last = start + part >= bytes.length
    await contents.save(`${folder}/big.bin`, { type: 'file', format: 'base64', chunk: last ? -1 : chunk, content })
  }
  want(await run(kernel, "b = open('big.bin', 'rb').read(); len(b), b[-7:], b.count(b'abcdefg')"), `(${bytes.length}, ${`b'${bytes.subarray(-7)}'`}, ${Math.floor(bytes.length / 7)})`)
  step('an upload in parts')

  await run(kernel, "f = open('huge.bin', 'wb'); f.truncate(40 << 20); f.close()")
  await refused(contents.get(`${folder}/huge.bin`), 413)
  const answer = await fetch(await contents.getDownloadUrl(`${folder}/huge.bin`), { headers: { Authorization: `token ${token}` } })
  want([answer.status, answer.headers.get('content-disposition'), (await answer.arrayBuffer()).byteLength], [200, 'attachment; filename="huge.bin"', 40 << 20])
  step('a large download')
}

want((await contents.get('')).content, [])
const kernels = new KernelManager({ serverSettings })
const kernel = await kernels.startNew({ name: 'python3' })
await kernel.info
const root = await contents.get('')
want([root.content.length, root.content[0].type], [1, 'directory'])
const folder = root.content[0].path
assert.match(folder, /^python3-s[a-z0-9]+$/)
want((await contents.get(kernel.id)).path, kernel.id)
step('folders')
await files(kernel, folder)
await notebooks(kernel, folder)
await large(kernel, folder)
await kernel.shutdown()
want((await contents.get('')).content, [])
await refused(contents.get(folder), 404)
step('shutdown')
process.exit(0)
