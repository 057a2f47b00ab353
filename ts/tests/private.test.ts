/** Private servers: they start with the first session, and end with Node. */

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readlink } from "node:fs/promises";
import { createInterface } from "node:readline";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

const PROGRAM = `
import { readdir, readFile } from "node:fs/promises";
import { Session } from ${JSON.stringify(new URL("../src/index.js", import.meta.url).href)};
const session = await Session.create({ local: true });
const [child] = (await readFile(\`/proc/\${process.pid}/task/\${process.pid}/children\`, "utf8")).split(" ");
console.log((await session.run("6 * 7")).result, child);
`;

/** Seconds within which a server ends, also on a busy machine. */
const LONG = 180;

for (const [name, end] of Object.entries({
  ends: "",
  "is killed": "await new Promise(() => setInterval(() => 0, 1e6));",
})) {
  test(`a private server ends when Node ${name}`, async () => {
    const node = spawn(process.execPath, ["--input-type=module", "-e", PROGRAM + end], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    const ended = once(node, "exit");
    const [line] = await once(createInterface(node.stdout), "line");
    const [result, server] = String(line).split(" ");
    assert.equal(result, "42");
    if (end) node.kill("SIGKILL");
    await ended;
    assert(await gone(Number(server)));
  });
}

/** Reports whether a process ends. Node has no event for the end of a process that it did not start. */
async function gone(pid: number): Promise<boolean> {
  for (const until = Date.now() + LONG * 1000; Date.now() < until; await sleep(50)) {
    const program = await readlink(`/proc/${pid}/exe`).catch(() => "");
    if (!program) return true;
  }
  return false;
}
