// Uses a notebook in JupyterLab with a browser. Prints one line for each step. The arguments are the URL of the notebook and
// the path of the browser.

import assert from 'node:assert/strict'
import { chromium } from 'playwright-core'

const [, , url, executablePath] = process.argv
const step = (name) => console.log(name)
const browser = await chromium.launch({ executablePath, args: ['--no-sandbox'] }) // Chromium has no sandbox as root
// All cells fit into the window: JupyterLab does not show the others.
const page = await browser.newPage({ viewport: { width: 1200, height: 3000 } })
page.setDefaultTimeout(120000) // on a busy machine

const cell = (n) => page.locator('.jp-Notebook .jp-CodeCell').nth(n)
const output = (n) => cell(n).locator('.jp-Cell-outputArea')
const prompt = (n) => cell(n).locator('.jp-InputPrompt')
const start = async (n) => {
  await cell(n).locator('.cm-content').click()
  await page.keyboard.press('Control+Enter')
}
const done = (n) => prompt(n).filter({ hasText: /\[\d+\]:/ }).waitFor()
const run = async (n) => {
  await start(n)
  await done(n)
}
const shows = (n, text) => output(n).getByText(text).first().waitFor()
const menu = async (...names) => {
  await page.locator('.lm-MenuBar-itemLabel', { hasText: new RegExp(`^${names[0]}$`) }).click()
  await page.locator('.lm-Menu-itemLabel', { hasText: names[1] }).first().click()
}
const kernelIs = (state) => page.locator('.jp-StatusBar-TextItem', { hasText: new RegExp(`Python 3.* \\| ${state}$`) }).waitFor()
const dialog = (button) => page.locator('.jp-Dialog-button', { hasText: button }).click()
const save = async () => {
  const saved = page.waitForResponse((r) => r.request().method() === 'PUT' && r.url().includes('/api/contents/'))
  await page.keyboard.press('Control+s')
  await saved
}

// A dialog of JupyterLab says that a kernel died. The notebook must not show it before the kernel dies.
let deaths = 0
await page.exposeFunction('died', () => { deaths++ })
await page.addInitScript(() => new MutationObserver(() => {
  if (document.querySelector('.jp-Dialog')?.textContent.includes('appears to have died')) window.died()
}).observe(document, { childList: true, subtree: true }))

async function story() {
  await page.goto(url)
  await kernelIs('Idle')
  step('the notebook is open')

  await run(0)
  await run(1)
  const image = output(1).locator('img')
  await image.waitFor()
  const size = await image.evaluate((i) => [i.naturalWidth, i.naturalHeight])
  assert(size[0] > 100 && size[1] > 100, `the plot has the size ${size}`)
  step('a plot')

  await run(2)
  await output(2).locator('.noUi-handle').focus()
  for (let i = 0; i < 4; i++) await page.keyboard.press('ArrowRight')
  await output(2).getByText('7', { exact: true }).waitFor()
  await run(3)
  await shows(3, 'slider 7')
  step('a slider moved by the keyboard')

  await run(4)
  await shows(4, 'square 4')
  await output(4).locator('.noUi-handle').focus()
  await page.keyboard.press('ArrowRight')
  await shows(4, 'square 9')
  step('interact')

  await start(5)
  await cell(5).locator('.jp-Stdin-input').fill('Ada')
  await page.keyboard.press('Enter')
  await shows(5, 'hello Ada')
  step('an answer to input()')
}

// Binary data reaches the kernel, and does not come from it. A message with it must not end the connection.
async function binary() {
  await run(6)
  await shows(6, 'dropped binary data')
  await shows(6, 'after the picture')
  await run(7)
  const chooser = page.waitForEvent('filechooser')
  await output(7).locator('button').click()
  await (await chooser).setFiles({ name: 'a.bin', mimeType: 'application/octet-stream', buffer: Buffer.from([0, 1, 254, 255]) })
  await shows(7, 'Upload (1)')
  await run(8)
  await shows(8, "uploaded b'\\x00\\x01\\xfe\\xff'")
  step('widgets with binary data')
}

async function interruptAndReload() {
  await start(9)
  await shows(9, 'sleeping')
  await menu('Kernel', 'Interrupt Kernel')
  await shows(9, 'KeyboardInterrupt')
  step('interrupt')

  await start(10)
  await shows(10, 'ticking')
  await save()
  await page.reload()
  await kernelIs('Busy')
  await output(1).locator('img').waitFor()
  await shows(3, 'slider 7')
  await shows(5, 'hello Ada')
  await shows(10, 'ticking')
  await menu('Kernel', 'Interrupt Kernel')
  await kernelIs('Idle')
  await run(11)
  await shows(11, 'ticks True True')
  await output(2).getByText('7', { exact: true }).waitFor() // the page has the widgets of the kernel again
  step('the page is loaded again, and the cell still ran')
}

async function restartAndDeath() {
  const restarted = page.waitForResponse((r) => r.url().includes('/restart'))
  await menu('Kernel', 'Restart Kernel…')
  await dialog('Restart')
  await restarted
  await kernelIs('Idle')
  await run(12)
  await shows(12, 'new True')
  assert.equal(deaths, 0, 'the notebook showed a death')
  await save()
  step('a restart is not shown as a death')

  await start(13)
  await dialog('Ok')
  assert(deaths > 0)
  await kernelIs('Idle')
  await run(14)
  await shows(14, 'again 42')
  step('a death is shown, and the kernel is started again')
}

try {
  await story()
  await binary()
  await interruptAndReload()
  await restartAndDeath()
} catch (error) {
  await page.screenshot({ path: 'failed.png' })
  console.error('build/clients/failed.png shows the page')
  throw error
} finally {
  await browser.close()
}
