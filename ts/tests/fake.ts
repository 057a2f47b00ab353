/** A server that follows a script: each request gets the next answer. */

import assert from "node:assert/strict";
import { Client, type Session } from "../src/index.js";
import { clock } from "../src/runtime.js";

/** An answer, an error of `fetch`, or a function that makes one of them from the request. */
export type Reply = Response | Error | ((request: Asked) => Response | Error);

/** A request that came. */
export interface Asked {
  readonly line: string;
  readonly url: URL;
  readonly headers: Headers;
  readonly body: string;
}

export const SESSION = { id: "s1", state: "ready", kernels: [], egress: { policy: "none" } };

/** An answer of JSON. */
export function json(value: unknown, status = 200): Response {
  return new Response(JSON.stringify(value), { status, headers: { "Content-Type": "application/json" } });
}

/** An answer with a cell. */
export function cell(state = "done", more: object = {}): Response {
  const status = state === "done" ? "ok" : undefined;
  return json({ id: "c1", session: "s1", kernel: "python3", code: "x", state, status, first: 3, outputs: [], ...more });
}

/** An answer with a command. */
export function command(state = "done", more: object = {}): Response {
  const empty = { text: "", bytes: 0 };
  return json({ id: "x1", state, status: "ok", exit_code: 0, first: 3, stdout: empty, stderr: empty, ...more });
}

/** An answer with an error of the server. */
export function problem(status: number, kind: string, more: object = {}): Response {
  const body = { title: "T", status, kind, detail: `It is ${kind}.`, request_id: "r1", ...more };
  return new Response(JSON.stringify(body), { status, headers: { "Content-Type": "application/problem+json" } });
}

/** A server-sent event. */
export function event(seq: number, type: string, content: object = {}, of = "c1"): string {
  return `id: ${seq}\nevent: ${type}\ndata: ${JSON.stringify({ seq, type, cell: of, content })}\n\n`;
}

/** An error of a connection that was not made. */
export function refused(): Error {
  return failed("connect ECONNREFUSED 127.0.0.1:5002", "ECONNREFUSED");
}

/** An error of a connection that broke after the request was sent. */
export function lost(): Error {
  return failed("other side closed", "UND_ERR_SOCKET");
}

function failed(message: string, code: string): Error {
  return new TypeError("fetch failed", { cause: Object.assign(new Error(message), { code }) });
}

/** An answer that breaks after its pieces. */
export function broken(...pieces: string[]): Response {
  const body = new ReadableStream<Uint8Array>({
    pull(controller) {
      const piece = pieces.shift();
      if (piece === undefined) controller.error(lost());
      else controller.enqueue(new TextEncoder().encode(piece));
    },
  });
  return new Response(body, { headers: { "Content-Type": "text/event-stream" } });
}

/** The answers, and the requests that came. */
export class Script {
  readonly requests: Asked[] = [];
  readonly #replies: Reply[];

  constructor(...replies: Reply[]) {
    this.#replies = replies;
  }

  readonly fetch: typeof fetch = async (input, init) => {
    const url = new URL(String(input));
    const body = await new Response(init?.body).text();
    const asked = {
      line: `${init?.method} ${url.pathname}${url.search}`,
      url,
      headers: new Headers(init?.headers),
      body,
    };
    this.requests.push(asked);
    const next = this.#replies.shift();
    assert(next, `no answer is left for ${asked.line}`);
    const reply = typeof next === "function" ? next(asked) : next;
    if (reply instanceof Error) throw reply;
    return reply;
  };

  /** A client of this server. */
  client(patience = 5): Client {
    return new Client({ url: "http://server", token: "secret", patience, fetch: this.fetch });
  }

  /** The session s1 of this server. Its first request is not kept. */
  async session(patience?: number): Promise<Session> {
    this.#replies.unshift(json(SESSION));
    const session = await this.client(patience).attach("s1");
    this.requests.length = 0;
    return session;
  }
}

/** Replaces the clock by one that only pauses move. So no test depends on the speed of the machine. */
export function fakeClock(): void {
  let now = 0;
  clock.now = () => now;
  clock.sleep = async (seconds) => {
    now += seconds;
  };
}
