/** Outputs, events, lines and paths, without a server. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { Cell } from "../src/cell.js";
import { Command, outputText } from "../src/commands.js";
import { CommandError, Figure, InternalError, InvalidError, type models, Run, RunError } from "../src/index.js";
import type { Link } from "../src/link.js";
import { lines, messages } from "../src/sse.js";
import { escapedPath, fromBase64, plain, toBase64 } from "../src/values.js";

const PNG = "iVBORw0KGgo=";

function cell(outputs: object[], more: object = {}): Cell {
  const data = { id: "c1", state: "done", status: "ok", outputs, ...more };
  return new Cell({} as Link, data as unknown as models.Cell);
}

test("a cell shows its outputs as text, and its figures", () => {
  const done = cell([
    { output_type: "stream", name: "stdout", text: "a" },
    {
      output_type: "display_data",
      data: { "text/plain": ["<Fig", "ure>"], "image/png": `${PNG.slice(0, 4)}\n${PNG.slice(4)}` },
    },
    { output_type: "stream", name: "stderr", text: "e\n" },
    { output_type: "execute_result", data: { "text/plain": "42", "text/html": "<b>42</b>" } },
  ]);
  assert.deepEqual([done.text, done.stdout, done.stderr, done.result], ["a\n<Figure>\ne\n42\n", "a", "e\n", "42"]);
  assert.deepEqual([done.figures.length, done.figures[0]?.formats], [1, ["png"]]);
  assert.equal(done.figures[0]?.blob().type, "image/png");
  assert.throws(() => done.figures[0]?.svg, /no svg, only png/);
});

test("an error has a traceback without colours", () => {
  const traceback = ["\x1b[31mTraceback\x1b[0m", "KeyError: 'x'"];
  const error = { output_type: "error", ename: "KeyError", evalue: "'x'", traceback };
  const failed = cell([error], { status: "error" });
  assert.deepEqual(
    [failed.ok, failed.error?.name, String(failed.error)],
    [false, "KeyError", "Traceback\nKeyError: 'x'"],
  );
  const late = cell([error], { status: "timeout", cause: "The time is over." });
  assert.equal(String(late.error), "Traceback\nKeyError: 'x'\ntimeout: The time is over.");
  assert.equal(cell([], { status: undefined, state: "running" }).error, undefined);
});

test("errors of commands and runs have no control characters", () => {
  const stderr = { text: `\x1b]0;title\x07\x1b[2Jno\b\x9b1A\r\n\x1b[31m${"x".repeat(1996)}`, bytes: 1 };
  const stdout = { text: "", bytes: 0 };
  const data = { status: "exit", exit_code: 3, stdout, stderr };
  const command = new Command({} as Link, data as unknown as models.Command);
  // U+009B is removed, and its parameters stay as text.
  assert.equal(new CommandError(command).message, `The command ended with exit status 3.\no1A\n${"x".repeat(1996)}`);
  const run = new Run(data as unknown as models.RunResult);
  assert.equal(run.error?.value, `no1A\n${"x".repeat(1996)}`);
  assert.equal(new RunError(run).message, `exit: no1A\n${"x".repeat(1996)}`);
});

test("values of another type than the documented one do no harm", () => {
  const odd = cell([
    { output_type: "stream", name: 1, text: { a: 1 } },
    { output_type: "error", ename: null, evalue: 5, traceback: "no list" },
    { output_type: "display_data", data: ["no object"] },
    { output_type: "display_data", data: { "image/png": "%%%", "image/svg+xml": 7, "text/plain": [1, "a"] } },
  ]);
  assert.deepEqual([odd.text, odd.result, odd.figures.length], ["a\n", undefined, 1]);
  assert.equal(new Figure({ "image/png": "%%%" }).formats.length, 0);
});

test("a figure without a known suffix is not saved", async () => {
  await assert.rejects(new Figure({ "image/png": PNG }).save("plot.gif"), InvalidError);
});

test("plain text has no control characters", () => {
  assert.equal(plain("a\x1b[1;31mb\x1b[0m\x1b]8;;http://x\x1b\\c\x9b2Jd\te\r\nf\b\0"), "abc2Jd\te\nf");
});

test("bytes go to base64 and back", () => {
  const bytes = new Uint8Array(100_000).map((_, at) => at);
  assert.deepEqual(fromBase64(toBase64(bytes)), bytes);
  assert.equal(
    outputText({ text: "/w==", tail: "YQ==", encoding: "base64", bytes: 9, omitted: 7 }),
    "\ufffd\n[7 bytes omitted]\na",
  );
});

test("paths keep all their bytes", () => {
  assert.equal(escapedPath("a b/ä?&#+%41"), "a%20b%2F%C3%A4%3F%26%23%2B%2541");
  assert.equal(escapedPath(Uint8Array.of(97, 255)), "%61%ff");
  assert.equal(escapedPath({ path: "a\ufffd", escaped: "a%FF/b&c%25" }), "a%FF%2Fb%26c%25");
  assert.throws(() => escapedPath("\ud800"), InvalidError);
});

async function* cut(text: string, size: number): AsyncGenerator<Uint8Array> {
  const bytes = new TextEncoder().encode(text);
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

test("events are read in pieces of any size", async () => {
  const text = ": hello\r\n\r\nevent: stream\r\ndata: ä\ndata: b\n\nid: 1\n\ndata:c\n\n";
  for (let size = 1; size <= text.length + 1; size++) {
    const found: unknown[] = [];
    for await (const { event, data } of messages(cut(text, size))) found.push([event, data]);
    assert.deepEqual(found, [
      ["stream", "ä\nb"],
      ["", "c"],
    ]);
  }
});

test("a line has a limit", async () => {
  await assert.rejects(lines(cut("x".repeat(11), 4), 10).next(), InternalError);
});
