/** Where the package finds its server. */

import assert from "node:assert/strict";
import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, test } from "node:test";
import { DEFAULT_URL, findServer, homes } from "../src/connect.js";
import { InvalidError, UnavailableError } from "../src/errors.js";

const kept = { ...process.env };
let home: string;

/** A machine without a server. */
const nowhere: typeof fetch = async () => {
  throw new TypeError("fetch failed");
};

/** A machine whose server accepts the token 0123. */
const here: typeof fetch = async (input, init) => {
  const accepted = String(input) === `${DEFAULT_URL}/v1/version` && new Headers(init?.headers).get("Authorization");
  return accepted === "Bearer 0123" ? Response.json({ api: "v1" }) : new Response(null, { status: 401 });
};

beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), "cellhold-"));
  for (const name of ["CELLHOLD_URL", "CELLHOLD_TOKEN"]) delete process.env[name];
  Object.assign(process.env, { CELLHOLD_HOME: home, PATH: home });
});

afterEach(async () => {
  Object.assign(process.env, kept);
  await rm(home, { recursive: true });
});

test("arguments come before the environment", async () => {
  Object.assign(process.env, { CELLHOLD_URL: "http://environment", CELLHOLD_TOKEN: "two" });
  const one = { url: "https://argument/", token: "one" };
  assert.deepEqual(await findServer(one, nowhere), { url: "https://argument", token: "one" });
  assert.deepEqual(await findServer({ url: "https://argument" }, nowhere), { url: "https://argument", token: "two" });
  assert.deepEqual(await findServer({}, nowhere), { url: "http://environment", token: "two" });
});

test("a server of this machine is found, and its token goes to no other machine", async () => {
  await writeFile(join(home, "token"), "# names\n\ndefault 0123\nother 4567\n");
  assert.deepEqual(await findServer({}, here), { url: DEFAULT_URL, token: "0123" });
  assert.equal((await findServer({ url: "http://localhost:5002" }, here)).token, "0123");
  assert.equal((await findServer({ url: "http://example.org" }, here)).token, "");
  await assert.rejects(findServer({ token: "wrong" }, here), UnavailableError);
});

test("homes are those of the command line", () => {
  const of = (environment: Record<string, string>) => (name: string) => environment[name] ?? "";
  assert.deepEqual(homes(of({}), 0, "/home/ann"), ["/var/lib/cellhold"]);
  assert.deepEqual(homes(of({}), 1, "/home/ann"), ["/home/ann/.local/state/cellhold", "/var/lib/cellhold"]);
  assert.equal(homes(of({ XDG_STATE_HOME: "/s" }), 1, "/home/ann")[0], "/s/cellhold");
  assert.deepEqual(homes(of({ CELLHOLD_HOME: "/h" }), 0, "/home/ann"), ["/h"]);
});

test("an invalid URL or token is refused", async () => {
  for (const url of ["server", "ftp://a", "http://", "http://u:p@a", "http://a?b", "http://a#b"]) {
    await assert.rejects(findServer({ url, token: "t" }, nowhere), /Invalid server URL/);
  }
  await assert.rejects(findServer({ url: "http://a", token: "default 0123" }, nowhere), /Use only the token/);
  await assert.rejects(findServer({ url: "http://a", local: true }, nowhere), InvalidError);
});

test("without a program the error names every remedy", async () => {
  await assert.rejects(findServer({}, nowhere), /CELLHOLD_URL .* cellhold serve\. .* cannot start: .*ENOENT/);
});

test("a program that does not serve gives its reason, and can start later", async () => {
  const binary = join(home, "program");
  await writeFile(binary, "#!/bin/sh\necho the disk is full >&2\nexit 1\n");
  await chmod(binary, 0o755);
  await assert.rejects(findServer({ local: true, binary }, nowhere), /the disk is full/);
  const greeting = JSON.stringify({ url: "http://127.0.0.1:1", token: "private" });
  await writeFile(binary, `#!/bin/sh\necho '${greeting}'\nread end\n`);
  const place = { url: "http://127.0.0.1:1", token: "private" };
  const both = [findServer({ local: true, binary }, nowhere), findServer({ local: true, binary }, nowhere)];
  assert.deepEqual(await Promise.all(both), [place, place]);
});

test("a page in a browser must name its server", async (t) => {
  const { process: saved } = globalThis;
  t.after(() => {
    globalThis.process = saved;
  });
  // biome-ignore lint/suspicious/noExplicitAny: a browser has no process
  (globalThis as any).process = undefined;
  const found = await findServer({}, nowhere).catch((error) => error);
  const local = await findServer({ local: true }, nowhere).catch((error) => error);
  globalThis.process = saved;
  assert.match(String(found), /A page in a browser must give url and token/);
  assert.match(String(local), /but not in a browser/);
});
