// Reaches a port of a sandbox through the JavaScript SDK of E2B. Arguments: the address of the server, and the program for the
// sandbox. Prints one line for each step.
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import http from 'node:http'
import { Sandbox } from 'e2b'
import WebSocket from 'ws'

const [address, program] = process.argv.slice(-2)
const [server, port] = address.split(':')
const lookup = (name, options, found) => options.all ? found(null, [{ address: server, family: 4 }]) : found(null, server, 4)

const step = (name) => console.log(name)
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms))

const get = (host, path, headers = {}) => new Promise((resolve, reject) => {
  http.get(`http://${host}${path}`, { lookup, headers, agent: false }, (r) => {
    let text = ''
    r.on('data', (d) => { text += d })
    r.on('end', () => resolve({ status: r.statusCode, text, headers: r.headers }))
  }).on('error', reject)
})

const echo = (host, headers) => new Promise((resolve, reject) => {
  const c = new WebSocket(`ws://${host}/ws`, { lookup, headers, perMessageDeflate: false })
  c.on('error', reject)
  c.on('open', () => c.send('hello'))
  c.on('message', (m) => { c.close(); resolve(String(m)) })
})

const s = await Sandbox.create({ timeoutMs: 300000 })
const host = s.getHost(8000)
assert.equal(host, `8000-${s.sandboxId}.cells.example:${port}`)
await s.files.write('program.py', readFileSync(program, 'utf8'))
await s.commands.run('python3 program.py ::1 8000', { background: true, timeoutMs: 0 })
const token = { 'e2b-traffic-access-token': s.trafficAccessToken }
for (let i = 0; (await get(host, '/', token)).status !== 200; i++) {
  assert.ok(i < 600)
  await pause(100)
}
assert.equal((await get(host, '/')).status, 403)
assert.equal((await get(host, '/x', token)).text, '<p>/x</p>')
assert.equal(await echo(host, token), 'hello')
await assert.rejects(echo(host, {}), /403/)
step('a private port on ::1')
await s.kill()

const open = await Sandbox.create({ timeoutMs: 300000, network: { allowPublicTraffic: true } })
await open.files.write('program.py', readFileSync(program, 'utf8'))
await open.commands.run('python3 program.py 127.0.0.1 3000', { background: true, timeoutMs: 0 })
for (let i = 0; (await get(open.getHost(3000), '/')).status !== 200; i++) {
  assert.ok(i < 600)
  await pause(100)
}
assert.equal(await echo(open.getHost(3000), {}), 'hello')
step('a public port')
await open.kill()
process.exit(0)
