/** Lost connections, errors and timeouts, against a server that follows a script. */

import assert from "node:assert/strict";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import * as cellhold from "../src/index.js";
import {
  broken,
  cell,
  command,
  event,
  fakeClock,
  json,
  lost,
  problem,
  type Reply,
  refused,
  Script,
  SESSION,
} from "./fake.js";

fakeClock();

const PORT = "/v1/sessions/s1/ports/8000";

test("a stream continues after the last event when its connection breaks", async () => {
  const first = event(3, "cell_queued") + event(4, "stream", { name: "stdout", text: "a\n" });
  const again =
    event(4, "stream", { name: "stdout", text: "a\n" }) + event(5, "stream", { name: "stdout", text: "ä\n" });
  const script = new Script(
    cell("queued"),
    broken(`${first}id: 5\nevent: str`),
    broken(": nothing new\n\n"),
    new Response(`${again}event: bye\ndata: {"after":5}\n\n`),
    problem(503, "unavailable"),
    new Response(event(6, "another_cell", {}, "c2") + event(7, "cell_done", { status: "ok" })),
    cell(),
  );
  const stream = (await script.session()).stream("x");
  const seen: unknown[] = [];
  for await (const { seq, text } of stream) seen.push([seq, text]);
  assert.deepEqual(seen, [
    [3, ""],
    [4, "a\n"],
    [5, "ä\n"],
    [7, ""],
  ]);
  assert(stream.cell.ok);
  const asked = script.requests.filter(({ url }) => url.pathname.endsWith("/events"));
  assert.deepEqual(
    asked.map(({ url }) => url.search),
    ["?after=2", "?after=4", "?after=4", "?after=5", "?after=5"],
  );
});

test("a lost answer to code is asked for again with the same key", async () => {
  const script = new Script(lost(), problem(503, "unavailable"), cell());
  assert((await (await script.session()).run("x")).ok);
  const keys = new Set(script.requests.map(({ headers }) => headers.get("Idempotency-Key")));
  assert.deepEqual([script.requests.length, keys.size], [3, 1]);
});

test("the answer to a new session is asked for again with the same key", async () => {
  const script = new Script(lost(), json(SESSION, 201), new Response(null, { status: 204 }));
  const session = await script.client().createSession({ publicPorts: true });
  await session.close();
  const [first, second] = script.requests;
  assert.equal(first?.headers.get("Idempotency-Key"), second?.headers.get("Idempotency-Key"));
  assert.deepEqual(JSON.parse(second?.body ?? ""), { public_ports: true });
});

for (const [name, reply] of Object.entries({ lost: lost(), unavailable: problem(503, "unavailable") })) {
  test(`a request with an effect is never repeated: ${name}`, async () => {
    const script = new Script(reply);
    await assert.rejects((await script.session()).commands.run("rm -r data"), cellhold.UnavailableError);
    assert.equal(script.requests.length, 1);
  });
}

test("a request that never left is repeated", async () => {
  const script = new Script(refused(), command());
  assert((await (await script.session()).commands.run("date")).ok);
  assert.equal(script.requests.length, 2);
});

test("an end that was done before its answer was lost is done", async () => {
  const script = new Script(lost(), problem(404, "not_found"));
  await (await script.session()).end();
  assert.equal(script.requests.length, 2);
  await assert.rejects((await new Script(problem(404, "not_found")).session()).end(), cellhold.NotFoundError);
});

test("a server that never answers is given up after the patience", async () => {
  const script = new Script(...Array.from({ length: 9 }, refused));
  await assert.rejects(script.client(2).version(), /http:\/\/server cannot be reached: connect ECONNREFUSED/);
  assert.equal(script.requests.length, 5); // after pauses of 0.1, 0.2, 0.4 and 0.8 s
});

test("input of a command is sent again from the same offset", async () => {
  const script = new Script(
    command("running"),
    json({ offset: 0 }),
    problem(429, "exhausted"),
    lost(),
    json({ offset: 3 }),
    json({ offset: 3 }),
    command(),
  );
  assert((await (await script.session()).commands.run("cat", { input: "abc" })).ok);
  const writes = script.requests.filter(({ url }) => url.pathname.endsWith("/stdin"));
  assert.deepEqual(
    writes.map(({ url, body }) => [url.searchParams.get("offset"), body]),
    [
      ["-1", ""],
      ["0", "abc"],
      ["0", "abc"],
      ["0", "abc"],
      ["3", ""],
    ],
  );
});

test("an upload is sent again only if no byte left", async () => {
  const info = json({ path: "/a", type: "file", size: 3 });
  const script = new Script(refused(), info);
  const seen: unknown[] = [];
  await (await script.session()).files.write("a", "abc", { onProgress: (...progress) => seen.push(progress) });
  assert.deepEqual([script.requests[1]?.body, seen.at(-1)], ["abc", [3, 3]]);
  await assert.rejects((await new Script(lost()).session()).files.write("a", "abc"), cellhold.UnavailableError);
  const once = new Script(refused());
  await assert.rejects((await once.session()).files.write("a", new Blob(["abc"]).stream()), cellhold.UnavailableError);
});

test("a downloaded file stays in the current folder", async () => {
  const { files } = await new Script().session();
  for (const path of ["..", "a/..", "", "a/", "..\\x", "C:x", Uint8Array.of(46, 46)]) {
    await assert.rejects(files.download(path), cellhold.InvalidError);
  }
});

test("a download without a target replaces no file", async () => {
  const folder = await mkdtemp(join(tmpdir(), "download-"));
  const before = process.cwd();
  process.chdir(folder);
  try {
    const answer = () => new Response("theirs", { headers: { "Content-Length": "6" } });
    assert.equal(await (await new Script(answer()).session()).files.download("a/new"), "new");
    await writeFile("mine", "mine");
    const { files } = await new Script(problem(404, "not_found"), answer()).session();
    await assert.rejects(files.download("a/mine"), { code: "EEXIST" });
    await assert.rejects(files.download("a/none"), cellhold.NotFoundError);
    assert.deepEqual([await readFile("new", "utf8"), await readFile("mine", "utf8")], ["theirs", "mine"]);
    await files.download("a/mine", "mine");
    assert.deepEqual([(await readdir(".")).sort(), await readFile("mine", "utf8")], [["mine", "new"], "theirs"]);
  } finally {
    process.chdir(before);
    await rm(folder, { recursive: true });
  }
});

test("a download that ends too early is an error", async () => {
  const short = new Response("ab", { headers: { "Content-Length": "3" } });
  const stream = await (await new Script(short).session()).files.stream("a");
  await assert.rejects(new Response(stream).text(), cellhold.InternalError);
});

test("the end of waiting does not end the cell", async () => {
  const script = new Script(cell("queued"), cell("running"), cell());
  const session = await script.session();
  const error = await session.run("x", { wait: 0 }).catch((error) => error);
  assert(error instanceof cellhold.WaitTimeout && /It continues/.test(error.message));
  assert((await error.waited.wait()).ok);
  assert.deepEqual(
    script.requests.filter(({ line }) => /interrupt|cancel/.test(line)),
    [],
  );
});

test("a caller's abort is its own error, and nothing is repeated", async () => {
  const script = new Script(() => lost());
  const signal = AbortSignal.abort(new Error("enough"));
  await assert.rejects((await script.session()).run("x", { signal }), /^Error: enough$/);
  assert.equal(script.requests.length, 1);
});

function run(index: number): string {
  return `${JSON.stringify({ index, status: "ok", outputs: [], tests: [], passed: 0, files: [] })}\n`;
}

test("a batch with a key continues, and one without does not", async () => {
  const requests = [{ code: "1" }, { code: "2" }];
  let script = new Script(broken(run(1), "\n"), new Response(run(1) + run(0)));
  const seen: number[] = [];
  for await (const { index } of script.client().runBatch(requests, { key: "k" })) seen.push(index);
  assert.deepEqual(seen, [1, 0]);
  script = new Script(broken(run(1)));
  const all = script.client().runBatch(requests);
  assert.equal((await all.next()).value.index, 1);
  await assert.rejects(all.next(), cellhold.UnavailableError);
  assert.equal(script.requests.length, 1);
});

const KINDS = {
  400: ["invalid", cellhold.InvalidError],
  403: ["denied", cellhold.DeniedError],
  404: ["not_found", cellhold.NotFoundError],
  409: ["conflict", cellhold.ConflictError],
  429: ["exhausted", cellhold.ExhaustedError],
  503: ["unavailable", cellhold.UnavailableError],
  501: ["unsupported", cellhold.UnsupportedError],
  500: ["internal", cellhold.InternalError],
} as const;

for (const [text, [kind, Class]] of Object.entries(KINDS)) {
  test(`the kind ${kind} has a class with the sentence of the server`, async () => {
    const status = Number(text);
    const errors = [{ location: "body.count", message: "too many" }];
    const session = await new Script(
      problem(status, kind, { errors }),
      new Response("<h1>no</h1>", { status }),
    ).session();
    const error = await session.fork(3).catch((error) => error);
    assert(error instanceof Class && error.name === Class.name && error.kind === kind);
    assert.deepEqual([error.detail, error.status, error.requestId], [`It is ${kind}.`, status, "r1"]);
    assert.equal(error.message, `It is ${kind}.\n  body.count: too many`);
    const other = await session.fork(3).catch((error) => error); // the answer of a proxy
    assert(other instanceof Class && other.detail === `The server answered with status ${status}.`);
  });
}

test("the token goes only to the named server", async () => {
  const moved = new Response(null, { status: 302, headers: { Location: "http://other/" } });
  const script = new Script(json({ status: "ok" }), moved);
  const client = script.client();
  assert(await client.isAlive());
  await assert.rejects(client.version(), cellhold.InternalError);
  assert.deepEqual(
    script.requests.map(({ headers, url }) => [headers.has("Authorization"), url.host]),
    [
      [false, "server"],
      [true, "server"],
    ],
  );
});

test("an answer in another form is an error of the server", async () => {
  for (const reply of [new Response("hello"), json([]), json(null), json("text")]) {
    await assert.rejects((await new Script(reply).session()).info(), cellhold.InternalError);
  }
});

test("an id or path cannot lead to another path", async () => {
  const script = new Script(cell(), new Response("x"));
  const session = await script.session();
  await session.cells.get("../../x?y");
  await session.files.readOutput("a b/ä");
  assert.deepEqual(
    script.requests.map(({ line }) => line),
    ["GET /v1/sessions/s1/cells/..%2F..%2Fx%3Fy", "GET /v1/sessions/s1/output/a%20b/%C3%A4"],
  );
  for (const id of ["", ".", ".."]) await assert.rejects(session.cells.get(id), cellhold.InvalidError);
  for (const path of ["a/../../x", "../x", "a//b"])
    await assert.rejects(session.files.readOutput(path), cellhold.InvalidError);
});

test("a request to a port has the token and the body of its caller", async () => {
  const script = new Script(...Array.from({ length: 4 }, () => new Response("ok")));
  const { ports } = await script.session();
  await ports.fetch(8000, "a b?c=1#d", { method: "post", body: '{"f":null}', headers: { "X-Own": "1" } });
  await ports.fetch(8000, "/../../%20", { method: "PUT", body: Uint8Array.of(104, 105) });
  await ports.fetch(8000, "//x", { method: "POST", body: new URLSearchParams({ a: "b c" }) });
  const form = new FormData();
  form.append("f", new Blob(["text"]), "n.txt");
  await ports.fetch(8000, "", { method: "POST", body: form });
  const [first, second, third, last] = script.requests;
  assert.deepEqual(
    script.requests.map(({ line }) => line),
    [`POST ${PORT}/a%20b?c=1`, `PUT ${PORT}/%20`, `POST ${PORT}//x`, `POST ${PORT}/`],
  );
  assert.deepEqual([first?.body, first?.headers.get("X-Own")], ['{"f":null}', "1"]);
  assert.equal(first?.headers.get("Authorization"), "Bearer secret");
  assert.deepEqual([second?.body, third?.body], ["hi", "a=b+c"]);
  assert.match(third?.headers.get("Content-Type") ?? "", /^application\/x-www-form-urlencoded/);
  assert.match(last?.headers.get("Content-Type") ?? "", /^multipart\/form-data; boundary=/);
  assert.match(last?.body ?? "", /filename="n.txt"/);
});

test("a path cannot leave its port, and a wrong request is refused", async () => {
  const { ports } = await new Script().session();
  for (const path of ["/..%2fstatus", "/a%2F..%2f..", "/..%5cstatus", "/%2e%2e%2fx"]) {
    await assert.rejects(ports.fetch(8000, path), /a segment is a dot/);
  }
  await assert.rejects(ports.fetch(8000, "/%"), /incomplete escape/);
  await assert.rejects(ports.fetch(8000, "/", { headers: { authorization: "x" } }), /Authorization/);
  for (const port of [0, 65536, 1.5]) await assert.rejects(ports.fetch(port), /1 to 65535/);
});

test("a request to a port is repeated only while no program got it", async () => {
  const script = new Script(refused(), problem(502, "not_found"), new Response("ready"));
  const { ports } = await script.session();
  assert.equal(await (await ports.fetch(8000, "/", { method: "POST", wait: 5 })).text(), "ready");
  const cases: [Reply, number, new (...args: never) => Error][] = [
    [problem(502, "not_found"), 0, cellhold.NotFoundError],
    [problem(404, "not_found"), 5, cellhold.NotFoundError],
    [problem(502, "unavailable"), 5, cellhold.UnavailableError],
    [lost(), 5, cellhold.UnavailableError],
  ];
  for (const [reply, wait, Class] of cases) {
    const script = new Script(reply);
    await assert.rejects((await script.session()).ports.fetch(8000, "/", { wait }), Class);
    assert.equal(script.requests.length, 1);
  }
});

test("errors of a program are its answers", async () => {
  const headers = { "Content-Type": "application/problem+json", "Content-Language": "en" };
  const script = new Script(
    new Response("no", { status: 500 }),
    new Response('{"detail":"no"}', { status: 422, headers }),
  );
  const { ports } = await script.session();
  const first = await ports.fetch(8000);
  assert.deepEqual([first.status, await first.text()], [500, "no"]);
  const second = await ports.fetch(8000);
  assert.deepEqual([second.status, second.headers.get("Content-Language")], [422, "en"]);
  assert.equal(await second.text(), '{"detail":"no"}');
  const third = await (await new Script(broken("a")).session()).ports.fetch(8000);
  await assert.rejects(third.text(), cellhold.UnavailableError);
});

test("hosts of ports are those of the server", async () => {
  const access = { path: `/v1/sessions/s1/ports/PORT/`, hosts: ["PORT-s1.cells.example"], public: true, header: "H" };
  const { ports } = await new Script(json(access), json(access)).session();
  assert.equal(await ports.host(80), "80-s1.cells.example");
  assert.equal(await ports.url(80, "/a?b=c"), "http://server/v1/sessions/s1/ports/80/a?b=c");
});
