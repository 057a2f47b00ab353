/** Sends requests to one server, and repeats those that are safe to repeat. */

import { piecesOf } from "./body.js";
import { findServer, type Place, type ServerOptions } from "./connect.js";
import { CellholdError, fromAnswer, fromProblem, InvalidError, NotFoundError, UnavailableError } from "./errors.js";
import { Event } from "./events.js";
import type * as models from "./models.js";
import { type Operation, op } from "./operations.js";
import { Backoff, deletes, repeatable, SHORT, SILENCE, silenceOf } from "./policy.js";
import { clock, currentProcess } from "./runtime.js";
import { messages } from "./sse.js";
import { decoded, encoded, parsed } from "./values.js";

/** Maximum bytes of a problem document. The rest is omitted. */
const MAX_PROBLEM = 1 << 20;

/** Status of the answer to a request to a port on which no program listens. */
const NO_PROGRAM = 502;

/** Parameters of a query. Those that are undefined are omitted. A `Raw` value is encoded already. */
export type Query = Record<string, string | number | boolean | Raw | undefined>;

/** A text that is encoded already. */
export class Raw {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }
}

/** What a request has besides its operation. */
export interface Request {
  /** Values of the parameters in the path. */
  parts?: string[];
  /** What follows the path and the query. */
  below?: string;
  query?: Query;
  json?: unknown;
  /** Makes the body, again for each attempt. It calls sent when a piece of the body leaves. */
  body?: (sent: () => void) => BodyInit | Promise<BodyInit>;
  headers?: Record<string, string>;
  /** Idempotency key. */
  key?: string;
  /** Seconds that the server waits before its answer. */
  wait?: number;
  /** Seconds without bytes after which the request fails, in place of those of the policy. */
  silence?: number;
  /** True if the request is never repeated. */
  once?: boolean;
  redirect?: RequestRedirect;
  signal?: AbortSignal;
}

/** The settings of the connections. */
export interface TransportOptions extends ServerOptions {
  /** Seconds without an answer after which a request fails. Default: 60. */
  timeout?: number;
  /** Seconds for which safe requests are repeated while the server cannot be reached. Default: 60. */
  patience?: number;
  /** Sends the requests, in place of the global `fetch`. */
  fetch?: typeof fetch;
}

/** Errors of requests of which no byte left this machine. */
const unsent = new WeakSet<object>();

/** Codes of Node and Bun for connections that were not made. */
const UNSENT = new Set([
  "ECONNREFUSED",
  "ENOTFOUND",
  "EAI_AGAIN",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "UND_ERR_CONNECT_TIMEOUT",
  "ConnectionRefused",
  "FailedToOpenSocket",
]);

/** The connections to one server. The first request finds the server. */
export class Transport {
  readonly timeout: number;
  readonly patience: number;
  readonly #options: TransportOptions;
  #place: Promise<Place> | undefined;
  #answered = false;

  constructor(options: TransportOptions) {
    this.timeout = options.timeout ?? 60;
    this.patience = options.patience ?? 60;
    this.#options = options;
  }

  /** Finds the server. A failure is not kept. */
  open(): Promise<Place> {
    this.#place ??= findServer(this.#options, this.#fetcher).catch((error) => {
      this.#place = undefined;
      throw error;
    });
    return this.#place;
  }

  get #fetcher(): typeof fetch {
    return this.#options.fetch ?? ((input, init) => globalThis.fetch(input, init));
  }

  /** Sends a request, and returns the JSON object of its answer. */
  async call<T>(operation: Operation, request: Request = {}): Promise<T> {
    return parsed<T>(decoded(await this.send(operation, request)));
  }

  /**
   * Sends a request, and returns the bytes of its successful answer. It is repeated if no byte of it left, or if its effect
   * is the same once and twice.
   */
  async send(operation: Operation, request: Request = {}): Promise<Uint8Array> {
    const backoff = new Backoff(this.patience);
    const again = repeatable(operation, request.key !== undefined);
    for (let attempt = 0; ; attempt++) {
      const begun = clock.now();
      try {
        return await (await this.stream(operation, request)).bytes();
      } catch (error) {
        if (attempt > 0 && error instanceof NotFoundError && deletes(operation)) return new Uint8Array();
        if (request.once) throw error;
        if (clock.now() - begun > SILENCE) backoff.progress(); // the server worked, and the connection was cut
        await this.pause(backoff, error, again, request.signal);
      }
    }
  }

  /** Waits before a retry. Throws the error if there is none. */
  async pause(backoff: Backoff, error: unknown, again: boolean, signal?: AbortSignal): Promise<void> {
    if (!(error instanceof UnavailableError)) throw error;
    if (!this.#answered) backoff.limit(SHORT);
    const seconds = again || unsent.has(error) ? backoff.next() : undefined;
    if (seconds === undefined) throw error;
    await clock.sleep(seconds, signal);
  }

  /** Sends a request once, and returns its successful answer with the body unread. */
  async stream(operation: Operation, request: Request = {}): Promise<Answer> {
    const answer = await this.#dispatch(operation, request);
    if (answer.response.ok) return answer;
    throw fromAnswer(answer.response.status, await answer.problem());
  }

  /** Sends a request once, and returns its answer, whatever its status, with the body unread. */
  async #dispatch(operation: Operation, request: Request): Promise<Answer> {
    const place = await this.open();
    const silence = request.silence ?? silenceOf(operation, this.timeout, request.wait);
    const url = place.url + pathOf(operation, request.parts ?? []) + queryOf(request.query) + (request.below ?? "");
    const watchdog = new Watchdog(silence, request.signal);
    const init = await initOf(operation, request, place.token, () => watchdog.touch());
    watchdog.begin();
    try {
      const response = await this.#fetcher(url, { ...init, signal: watchdog.signal });
      this.#answered = true;
      watchdog.pause();
      return new Answer(response, watchdog, place.url);
    } catch (error) {
      watchdog.stop();
      throw lost(error, watchdog, place.url);
    }
  }

  /**
   * Sends a request to a program in a sandbox, and returns its answer, whatever its status, with the body unread. It is
   * repeated only if no byte of it left, or if for some time no program listens. listening is this time in seconds.
   */
  async pass(operation: Operation, request: Request, listening: number): Promise<Answer> {
    const backoff = new Backoff(this.patience);
    const starting = new Backoff(listening);
    while (true) {
      try {
        return await this.#passOnce(operation, request);
      } catch (error) {
        if (request.once) throw error;
        // The session exists, because its absence has the status 404. So the program got nothing.
        const absent = error instanceof NotFoundError && error.status === NO_PROGRAM;
        const seconds = absent ? starting.next() : undefined;
        if (seconds !== undefined) await clock.sleep(seconds, request.signal);
        else await this.pause(backoff, error, false, request.signal);
      }
    }
  }

  async #passOnce(operation: Operation, request: Request): Promise<Answer> {
    const answer = await this.#dispatch(operation, request);
    const { response } = answer;
    if (response.ok || response.headers.get("Content-Type") !== "application/problem+json") return answer;
    const body = await answer.problem();
    const error = fromProblem(response.status, body);
    if (error) throw error;
    return answer.with(body); // an error of the program in the same form
  }

  /**
   * Yields the events after a number, up to the first event of the type last. When a connection breaks, it continues after
   * the last event: it omits no event and repeats none.
   */
  async *watch(operation: Operation, request: Request, after: number, last: string): AsyncGenerator<Event> {
    const backoff = new Backoff(this.patience);
    let seen = after;
    while (true) {
      try {
        for await (const event of this.#watchOnce(operation, request, seen)) {
          backoff.progress();
          if (event === undefined) return;
          if (event.seq <= seen) continue;
          seen = event.seq;
          yield event;
          if (event.type === last) return;
        }
        throw new UnavailableError("The server closed the stream.");
      } catch (error) {
        await this.pause(backoff, error, true, request.signal);
      }
    }
  }

  /** Yields the events of one connection, and undefined if there will be no more. */
  async *#watchOnce(operation: Operation, request: Request, after: number): AsyncGenerator<Event | undefined> {
    const headers = { Accept: "text/event-stream" };
    const answer = await this.stream(operation, { ...request, query: { after }, headers, silence: SILENCE });
    if (answer.response.status === 204) {
      answer.close();
      yield undefined;
      return;
    }
    for await (const message of messages(answer.pieces())) {
      if (message.event === "bye") return;
      yield new Event(parsed<models.Event>(message.data));
    }
  }
}

/** An answer whose body is unread. The body must be read or closed. */
export class Answer {
  readonly response: Response;
  readonly #watchdog: Watchdog;
  readonly #where: string;

  constructor(response: Response, watchdog: Watchdog, where: string) {
    this.response = response;
    this.#watchdog = watchdog;
    this.#where = where;
  }

  /** Yields the pieces of the body. Throws UnavailableError if the connection breaks. */
  async *pieces(): AsyncGenerator<Uint8Array> {
    const pieces = this.response.body && piecesOf(this.response.body);
    try {
      while (pieces) {
        this.#watchdog.touch();
        const { done, value } = await pieces.next();
        this.#watchdog.pause(); // the time that the caller takes for a piece is no silence
        if (done) return;
        yield value;
      }
    } catch (error) {
      throw lost(error, this.#watchdog, this.#where);
    } finally {
      this.#watchdog.stop();
      await pieces?.return(undefined);
    }
  }

  /** Returns the body. */
  async bytes(): Promise<Uint8Array> {
    return joined(this.pieces());
  }

  /** Returns the text of a body that can be a problem document. The rest of a long body is omitted. */
  async problem(): Promise<string> {
    const found: Uint8Array[] = [];
    let size = 0;
    for await (const piece of this.pieces()) {
      found.push(piece);
      size += piece.byteLength;
      if (size > MAX_PROBLEM) break;
    }
    return await new Blob(found as BlobPart[]).text();
  }

  /** Returns the answer with a body that was read. */
  with(body: string): Answer {
    const { status, statusText, headers } = this.response;
    return new Answer(new Response(body, { status, statusText, headers }), this.#watchdog, this.#where);
  }

  /** Ends the connection. */
  close(): void {
    this.#watchdog.end();
  }
}

/** Returns the bytes of pieces. */
export async function joined(pieces: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const found: Uint8Array[] = [];
  for await (const piece of pieces) found.push(piece);
  if (found.length === 1) return found[0] as Uint8Array;
  return new Uint8Array(await new Blob(found as BlobPart[]).arrayBuffer());
}

/** Ends a request whose connection has been silent for too long, or whose caller aborts it. */
class Watchdog {
  readonly #controller = new AbortController();
  readonly #caller: AbortSignal | undefined;
  readonly #aborted = () => this.#controller.abort(this.#caller?.reason);
  readonly #seconds: number;
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** True if the connection was silent for too long. */
  silent = false;

  constructor(seconds: number, caller: AbortSignal | undefined) {
    this.#seconds = seconds;
    this.#caller = caller;
  }

  /** Begins the watch. */
  begin(): void {
    if (this.#caller?.aborted) this.#aborted();
    this.#caller?.addEventListener("abort", this.#aborted);
    this.touch();
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Begins again to count the seconds of silence. */
  touch(): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.silent = true;
      this.#controller.abort();
    }, this.#seconds * 1000);
  }

  /** Stops to count. */
  pause(): void {
    clearTimeout(this.#timer);
  }

  /** Ends the watch. */
  stop(): void {
    this.pause();
    this.#caller?.removeEventListener("abort", this.#aborted);
  }

  /** Ends the watch and the request. */
  end(): void {
    this.stop();
    this.#controller.abort();
  }

  /** Returns the reason with which the caller aborted, or undefined. */
  get reason(): { readonly why: unknown } | undefined {
    return this.#caller?.aborted ? { why: this.#caller.reason } : undefined;
  }

  /** Returns a sentence about the silence. */
  get sentence(): string {
    return `no byte came for ${this.#seconds} s`;
  }
}

/** Returns the error for a failed exchange. The caller's own abort stays as it is. */
function lost(error: unknown, watchdog: Watchdog, where: string): unknown {
  if (watchdog.reason) return watchdog.reason.why;
  if (error instanceof CellholdError) return error;
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  const code = (cause as { code?: unknown } | undefined)?.code;
  const words = cause instanceof Error ? cause.message || String(code ?? cause.name) : String(cause);
  const reason = watchdog.silent ? watchdog.sentence : words;
  if (!watchdog.silent && (UNSENT.has(String(code)) || /tcp connect error|dns error/.test(words))) {
    const made = new UnavailableError(`The server at ${where} cannot be reached: ${reason}.`, { cause: error });
    unsent.add(made);
    return made;
  }
  const hint = currentProcess() ? "" : " A server refuses pages of other sites, unless it starts with --origin.";
  const sentence = `The connection to ${where} broke: ${reason}. The request can have had its effect.${hint}`;
  return new UnavailableError(sentence, { cause: error });
}

async function initOf(operation: Operation, request: Request, token: string, sent: () => void): Promise<RequestInit> {
  const headers = new Headers(request.headers);
  const open = operation.id === op.health.id || operation.id === op.ready.id;
  if (token && !open) headers.set("Authorization", `Bearer ${token}`);
  if (request.key) headers.set("Idempotency-Key", request.key);
  const init: RequestInit & { duplex?: "half" } = { method: operation.method, headers, redirect: "manual" };
  if (request.redirect) init.redirect = request.redirect;
  if (request.json !== undefined) {
    init.body = JSON.stringify(request.json);
    headers.set("Content-Type", "application/json");
  } else if (request.body) {
    init.body = await request.body(sent);
    if (init.body instanceof ReadableStream) init.duplex = "half";
  }
  return init;
}

/** Returns the path of an operation with its parameters filled in. Only the path of a file keeps its slashes. */
function pathOf(operation: Operation, parts: string[]): string {
  const values = [...parts];
  const filled = operation.path.split("/").map((piece) => {
    if (!piece.startsWith("{")) return piece;
    const value = values.shift() ?? "";
    const segments = piece === "{path}" ? value.split("/") : [value];
    if (segments.some((segment) => segment === "" || segment === "." || segment === "..")) {
      throw new InvalidError("An id or name in the request is empty or a dot: give one of the server.");
    }
    return segments.map(encoded).join("/");
  });
  return filled.join("/");
}

function queryOf(query: Query = {}): string {
  const pairs = Object.entries(query).filter(([, value]) => value !== undefined);
  if (pairs.length === 0) return "";
  const texts = pairs.map(([name, value]) => `${name}=${value instanceof Raw ? value.text : encoded(String(value))}`);
  return `?${texts.join("&")}`;
}
