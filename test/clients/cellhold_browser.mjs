// Uses a server from a page of another site in a browser, with the package cellhold as a module. Prints one line for each
// step. The arguments are the URL of the page, the URL and the token of the server, and the path of the browser.

import assert from 'node:assert/strict'
import { chromium } from 'playwright-core'

const [, , site, url, token, executablePath] = process.argv
const step = (name) => console.log(name)
const browser = await chromium.launch({ executablePath, args: ['--no-sandbox'] }) // Chromium has no sandbox as root
const page = await browser.newPage()
page.setDefaultTimeout(120000) // on a busy machine

async function plot(server) {
  const { Session } = await import('cellhold')
  const text = async (path) => await (await fetch(path)).text()
  const session = await Session.create(server)
  globalThis.session = session
  await session.files.write('penguins.csv', await (await fetch('/demo/data/penguins.csv')).blob())
  let cell
  const names = [...(await text('/demo/cells/')).matchAll(/href="([^"]+\.py)"/g)].map(([, name]) => name)
  for (const name of names.sort()) {
    cell = await session.run((await text('/demo/cells/' + name)).replaceAll('/mnt/data/penguins', 'penguins'))
  }
  const image = document.createElement('img')
  image.src = URL.createObjectURL(cell.figures[0].blob())
  document.body.append(image)
  await image.decode()
  return [image.naturalWidth, image.naturalHeight]
}

async function streams() {
  const { session } = globalThis
  let printed = ''
  for await (const event of session.stream("for i in range(3): print(i, flush=True)")) printed += event.text
  const content = await session.files.stream('penguins.csv')
  const { size } = await session.files.write('copy.csv', content)
  return [printed, size === (await session.files.stat('penguins.csv')).size]
}

async function refusals() {
  const { session } = globalThis
  const { NotFoundError, UnsupportedError } = await import('cellhold')
  const missing = await session.files.read('missing').catch((error) => error)
  const local = await session.files.upload('/etc/passwd').catch((error) => error)
  return [missing instanceof NotFoundError, local instanceof UnsupportedError]
}

async function port() {
  const { session } = globalThis
  await session.files.write('site/page.html', '<p>hello</p>')
  await session.commands.start('exec python3 -m http.server 8000 --bind 127.0.0.1 --directory site')
  const answer = await session.ports.fetch(8000, '/page.html', { wait: 60, headers: { 'X-Own': '1' } })
  return [answer.status, await answer.text()]
}

try {
  await page.goto(site)
  const size = await page.evaluate(plot, { url, token })
  assert(size[0] > 300 && size[1] > 300, `the plot has the size ${size}`)
  step('the plot of the demo')
  assert.deepEqual(await page.evaluate(streams), ['0\n1\n2\n', true])
  step('events and files as streams')
  assert.deepEqual(await page.evaluate(port), [200, '<p>hello</p>'])
  step('a program at a port')
  assert.deepEqual(await page.evaluate(refusals), [true, true])
  step('errors have their classes')
  await page.evaluate(() => globalThis.session.close())
  step('the session has ended')
} finally {
  await browser.close()
}
