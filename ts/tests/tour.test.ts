/** A tour through everything that the package can do, with real sandboxes. */

import assert from "node:assert/strict";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import {
  type Cell,
  CellError,
  Client,
  CommandError,
  ExhaustedError,
  NotFoundError,
  Output,
  RunError,
  Session,
  UnsupportedError,
  WaitTimeout,
} from "../src/index.js";
import { op } from "../src/operations.js";
import { needed, realServer, recorded, used } from "./server.js";

let client: Client;
let s: Session;
let folder: string;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "cellhold-"));
  client = new Client({ ...realServer(), fetch: recorded });
  s = await client.createSession({ user: "ann", metadata: { for: "tour" }, env: { A: "1" }, throwOnError: true });
});

after(async () => {
  await s.close();
  await s.end();
  await assert.rejects(client.attach(s.id), NotFoundError);
  await rm(folder, { recursive: true });
});

test("a client tells about its server", async () => {
  assert.deepEqual([await client.isAlive(), await client.isReady()], [true, true]);
  assert((await client.version()).api);
  assert((await client.status()).uptime >= 0);
  assert.deepEqual(await client.templates(), []);
  assert.deepEqual((await client.sessions()).map(({ id }) => id).includes(s.id), true);
});

test("code runs once, and in batches", async () => {
  let run = await client.run("x = 6; x * 7", { files: { "a.txt": "text", "b.bin": Uint8Array.of(255) } });
  assert.deepEqual([run.ok, run.result, run.error], [true, "42", undefined]);
  run = await client.run("print(input(), end='')", { tests: [{ stdin: "5", stdout: "5" }] });
  assert.deepEqual([run.passed, run.tests[0]?.status], [1, "passed"]);
  await assert.rejects(client.run("1/0", { throwOnError: true }), (error) => {
    return error instanceof RunError && String(error.run.error).includes("ZeroDivisionError");
  });
  const requests = [0, 1].map((i) => ({ code: `print(${i})`, mode: "program" as const }));
  const outputs: string[] = [];
  for await (const result of client.runBatch(requests)) outputs.push(result.stdout);
  assert.deepEqual(outputs.sort(), ["0\n", "1\n"]);
});

test("cells have text, results, figures, files and errors", async () => {
  let cell = await s.run("import os; print(os.environ['A']); 6 * 7");
  assert.deepEqual([cell.ok, cell.text, cell.stdout, cell.result], [true, "1\n42\n", "1\n", "42"]);
  assert((cell.usage?.wall_seconds ?? 0) > 0);
  cell = await s.run("import matplotlib.pyplot as plt; plt.plot([1, 3, 2]); open('made.txt', 'w').close()");
  const [figure] = cell.figures;
  assert.deepEqual([...(figure?.png.subarray(1, 4) ?? [])], [80, 78, 71]);
  assert.equal(cell.files[0]?.path, "/workspace/made.txt");
  await figure?.save(join(folder, "plot.png"));
  assert.deepEqual(new Uint8Array(await readFile(join(folder, "plot.png"))), figure?.png);
  await assert.rejects(s.run("def f():\n    return 1/0\nf()"), (error) => {
    return error instanceof CellError && /ZeroDivisionError: division by zero$/.test(error.message);
  });
  cell = await s.run("while True: pass", { timeout: 1, throwOnError: false });
  assert.deepEqual([cell.status, cell.error?.name], ["timeout", "timeout"]);
});

test("a kernel completes, inspects and checks code, and has a history", async () => {
  await s.run("penguins = 344");
  const completion = await s.complete("peng");
  assert(completion.matches?.some(({ text }) => text === "penguins"));
  assert.equal((await s.inspect("len", { detail: 0 })).found, true);
  assert.equal((await s.isComplete("for i in range(3):")).status, "incomplete");
  assert.equal((await s.history({ limit: 1 })).at(-1)?.code, "penguins = 344");
});

test("cells are interrupted, cancelled and waited for", async () => {
  const cell = await s.submit("import time; print('begun', flush=True); time.sleep(600)");
  await begun(cell);
  await assert.rejects(cell.wait({ timeout: 0 }), (error) => error instanceof WaitTimeout && error.waited === cell);
  await s.interrupt();
  await cell.interrupt();
  await cell.wait();
  assert.equal((await s.cells.get(cell.id)).status, "interrupted");
  const first = await s.submit("print('begun', flush=True); time.sleep(600)");
  const second = await s.submit("1");
  await begun(first);
  assert.equal((await second.cancel()).status, "cancelled");
  await first.cancel();
  assert.equal((await first.wait()).status, "interrupted");
  assert.equal((await s.cells.list()).length, 8);
});

/** Returns when a cell has printed something. An interrupt has an effect then. */
async function begun(cell: Cell): Promise<void> {
  for await (const event of cell.stream()) if (event.text) return;
}

test("output is live, and questions are answered", async () => {
  const asked: string[] = [];
  const seen: unknown[] = [];
  const cell = await s.run("name = input('name? '); print('hello', name); name", {
    onInput: (question) => {
      asked.push(question.text);
      return "Ann";
    },
    onStdout: (text) => seen.push(text),
    onOutput: (output) => seen.push(output),
  });
  assert.deepEqual([asked, cell.result], [["name? "], "'Ann'"]);
  assert(seen.includes("hello Ann\n") && seen.some((one) => one instanceof Output && one.text === "'Ann'"));
  await using stream = s.stream("for i in range(3): print(i, flush=True)");
  let text = "";
  for await (const event of stream) text += event.text;
  assert.deepEqual([text, stream.cell.ok], ["0\n1\n2\n", true]);
  assert.equal(await stream.cell.readText({ offset: 2 }), "1\n2\n");
  assert.equal((await s.readEvents({ limit: 1 }))[0]?.seq, 1);
  for await (const event of s.events({ after: 1 })) {
    assert.equal(event.seq, 2);
    break;
  }
});

test("files are written, read, listed, moved and removed", async () => {
  const { files } = s;
  const big = new Uint8Array(3_000_000).map((_, at) => at % 251);
  const sizes: number[] = [];
  await writeFile(join(folder, "big.bin"), big);
  const onProgress = (bytes: number) => sizes.push(bytes);
  assert.equal((await files.upload(join(folder, "big.bin"), undefined, { onProgress })).size, 3_000_000);
  assert.deepEqual([sizes[0], sizes.at(-1)], [1 << 20, 3_000_000]);
  assert.deepEqual(await files.readRange("big.bin", 252, 254), Uint8Array.of(1, 2));
  assert.equal(await files.download("big.bin", join(folder, "got.bin"), { onProgress }), join(folder, "got.bin"));
  assert.deepEqual(new Uint8Array(await readFile(join(folder, "got.bin"))), big);
  await files.write("data/a b&c.txt", "text", { mode: 0o600 });
  await s.run("open(b'data/\\xff', 'w').write('odd'); open('/mnt/data/output/o.txt', 'w').write('out')");
  const [first, odd] = await files.list("data");
  assert(first && odd);
  assert.deepEqual([first.size, odd.size, await files.readText(odd)], [4, 3, "odd"]);
  assert.deepEqual([(await files.stat(first)).mode, await files.exists("data/none")], ["0600", false]);
  await files.remove(odd);
  await files.move(first, "data/b.txt");
  assert.equal(await files.readText("data/b.txt"), "text");
  await files.mkdir("more");
  assert.equal((await files.writeMany({ "one.txt": "1", "two.txt": Uint8Array.of(50) }, "more")).length, 2);
  const outputs = await files.outputs();
  const output = outputs.find(({ path }) => path === "o.txt"); // a user has one folder of outputs
  assert(output);
  assert.equal(new TextDecoder().decode(await files.readOutput(output)), "out");
});

test("files and folders are streams", async () => {
  const { files } = s;
  const content = await files.stream("big.bin");
  assert.equal((await files.write("copy.bin", content)).size, 3_000_000);
  const reader = (await files.stream("big.bin")).getReader();
  assert((await reader.read()).value);
  await reader.cancel();
  const packed = await files.downloadArchive("more", { format: "zip" });
  assert.equal((await files.uploadArchive(packed, "third")).entries, 2);
  assert.equal(await files.readText("third/two.txt"), "2");
  for await (const change of files.watch("more")) {
    if (change) {
      assert.equal(change.path, "/workspace/more/three.txt");
      break;
    }
    await files.write("more/three.txt", "3");
  }
});

test("commands have input, output, signals and terminals", async () => {
  const { commands } = s;
  let command = await commands.run(["sh", "-c", "cat; echo error >&2"], { input: "in", env: { B: "2" } });
  assert.deepEqual([command.ok, command.stdout, command.stderr, command.exitCode], [true, "in", "error\n", 0]);
  await assert.rejects(commands.run("echo why >&2; exit 3"), (error) => {
    return error instanceof CommandError && /exit status 3\.\nwhy$/.test(error.message);
  });
  let text = "";
  const onStdout = (piece: string) => {
    text += piece;
  };
  await commands.run("echo a; sleep 0.1; echo b", { onStdout });
  assert.equal(text, "a\nb\n");
  const shell = await commands.start("cat", { terminal: { rows: 24, cols: 80 }, tag: "shell" });
  await shell.resize(30, 100);
  await shell.write("typed\n");
  text = "";
  for await (const event of shell.events()) {
    text += event.text;
    if (text.split("typed").length === 3) await shell.closeInput(); // the echo of the terminal, and the output of cat
  }
  assert((await shell.wait()).ok);
  command = await commands.start(["sleep", "600"]);
  await command.signal("INT");
  assert.equal((await command.wait()).status, "signal");
  command = await commands.start(["sleep", "600"]);
  await assert.rejects(command.wait({ timeout: 0.01 }), WaitTimeout);
  await command.kill();
  assert.deepEqual([(await commands.get(command.id)).done, (await commands.list()).length], [true, 6]);
});

test("a call ends with its signal, and its code continues", async () => {
  const controller = new AbortController();
  const run = s.run("print('begun', flush=True); time.sleep(600)", {
    onStdout: () => controller.abort(new Error("enough")),
    signal: controller.signal,
  });
  await assert.rejects(run, /enough/);
  const cell = (await s.cells.list()).at(-1);
  assert.equal(cell?.state, "running");
  await cell?.cancel();
  await cell?.wait();
});

test("programs at ports are reached", async () => {
  const { ports } = s;
  await assert.rejects(ports.fetch(8000), /No program listens on port 8000/);
  await s.files.write("site/page.html", "<p>hello</p>");
  const line = "exec python3 -m http.server 8000 --bind 127.0.0.1 --directory site";
  const program = await s.commands.start(line);
  const page = await ports.fetch(8000, "/page.html", { wait: 120 });
  assert.deepEqual(
    [page.status, page.headers.get("Content-Type"), await page.text()],
    [200, "text/html", "<p>hello</p>"],
  );
  assert.equal((await ports.fetch(8000, "/none")).status, 404);
  assert.equal((await ports.fetch(8000, "/page.html", { method: "PUT", body: "x" })).status, 501);
  const url = await ports.url(8000, "/page.html");
  assert.equal(await (await fetch(url, { headers: await ports.headers() })).text(), "<p>hello</p>");
  assert.equal((await fetch(url)).status, 401);
  assert.equal((await ports.access()).public, false);
  await assert.rejects(ports.host(8000), UnsupportedError);
  await program.kill();
});

test("kernels have variables of their own", async () => {
  assert((await s.kernels.specs()).some(({ name }) => name === "bash"));
  const bash = await s.kernels.start("bash");
  assert.equal((await bash.run("x=1; echo $x")).text, "1\n");
  assert.equal((await bash.stream("echo 2").result()).text, "2\n");
  await bash.restart();
  assert.equal((await (await bash.submit("echo [$x]")).wait()).text, "[]\n");
  await bash.interrupt();
  assert.deepEqual(
    (await s.kernels.list()).map(({ id }) => id),
    ["python3", "bash"],
  );
  await bash.delete();
});

test("a notebook goes out and in", async () => {
  await s.notebook.save(join(folder, "a.ipynb"));
  assert.match(await s.notebook.read("py"), /1\/0/);
  await using other = await client.createSession();
  const ids = await other.notebook.load(await readFile(join(folder, "a.ipynb")));
  assert(ids.length > 5);
  assert.equal((await other.cells.list()).length, ids.length);
});

test("a session is saved, restored, forked and hibernated", async () => {
  await s.run("x = 1");
  await s.checkpoint("one");
  await s.run("x = 2");
  await s.rollback("one");
  assert.equal((await s.run("x")).result, "1");
  const [fork] = await s.fork();
  assert(fork);
  await s.run("x = 3");
  assert.equal((await fork.run("x")).result, "1");
  assert.equal((await fork.info()).parent, s.id);
  await fork.close();
  assert.deepEqual(
    (await s.checkpoints.list()).map(({ name }) => name),
    ["one"],
  );
  await s.checkpoints.delete("one");
  await s.hibernate();
  assert.equal((await s.info()).state, "hibernated");
  await s.resume();
  assert.equal((await s.run("x")).result, "3");
  await s.restart();
  assert.equal((await s.run("x", { throwOnError: false })).ok, false);
});

test("a session is attached and detached, and has a deadline", async () => {
  assert((await s.setDeadline(600)) instanceof Date);
  const same = await Session.attach(s.id, { client });
  assert.deepEqual((await same.info()).metadata, { for: "tour" });
  await same.close();
  assert.equal((await s.run("1")).result, "1");
});

test("packages are installed, and code reaches hosts with secrets", async () => {
  await using net = await client.createSession({
    egress: ["*.example.org"],
    secrets: { KEY: { host: "www.example.org", value: "hidden" } },
    packages: ["humanize"],
  });
  const made = await net.packages.install("example>=1");
  assert.deepEqual(
    made.changes.map(({ name }) => name),
    ["example"],
  );
  assert.deepEqual(
    (await net.packages.list()).map(({ name }) => name),
    ["example", "humanize"],
  );
  assert.match(await net.packages.lock(), /example==/);
  assert.equal((await net.packages.remove("example")).changes[0]?.after, undefined);
  const host = needed("CELLHOLD_TEST_WEB");
  const code = `import os, urllib.request; print(os.environ['KEY'] == 'hidden'); urllib.request.urlopen('${host}').status`;
  const cell = await net.run(code);
  assert.deepEqual([cell.stdout, cell.result], ["False\n", "200"]);
  assert.equal((await net.egress.attempts())[0]?.decision, "allowed");
  assert.deepEqual((await net.egress.policy()).hosts, ["*.example.org"]);
  await assert.rejects(net.files.list("/usr/bin", { limit: 5 }), ExhaustedError);
});

test("the tour uses each operation of the document", () => {
  assert.deepEqual(
    [...used].sort(),
    Object.values(op).map(({ id }) => id),
  );
});
