/** Decides which requests can be repeated, when, and how long an answer can take. It makes no requests. */

import type { Operation } from "./operations.js";
import { clock } from "./runtime.js";

/** Seconds that one request waits for a result. It is shorter than the timeouts of usual proxies. */
export const POLL = 50;

/** Seconds without data after which a stream counts as broken. The server sends a comment every 15 s. */
export const SILENCE = 45;

/** Seconds that an operation can take whose answer comes when its work is done. */
const SLOW = 900;

/** Seconds that a run can take: the maximum deadline of a run, and a minute. */
const RUN = 3660;

/** Seconds of retries while a server never answered: its URL can be wrong. */
export const SHORT = 3;

/** Operations that have the same effect once and twice. A remove of a file is none: other code can make it again. */
const REPEATABLE = new Set<string>([
  "end-command", // does nothing if the command is done
  "hibernate", // does nothing if the session is hibernated
  "make-directory", // does nothing if the directory exists
  "resize-command",
  "resume", // does nothing if the session is not hibernated
  "set-deadline", // it counts from the last request, as the caller wants
  "delete-session", // a second answer is not_found, which the client accepts
  "delete-checkpoint",
  "delete-kernel",
]);

/** Operations that the server does once for each idempotency key. */
const KEYED = new Set<string>(["create-session", "submit-cell", "run", "run-batch"]);

const SLOW_ONES = new Set<string>([
  "create-session",
  "add-kernel",
  "restart",
  "install-packages",
  "remove-package",
  "lock-packages",
  "make-checkpoint",
  "rollback",
  "fork",
  "hibernate",
  "resume",
  "upload-file",
  "upload-files",
  "upload-archive",
  "move-file",
  "remove-file",
  "end-command",
  "delete-session",
  "get-notebook",
  "import-notebook",
]);

/** Reports whether a request can be sent again although the server can have done it. */
export function repeatable(operation: Operation, keyed: boolean): boolean {
  if (KEYED.has(operation.id)) return keyed;
  return operation.method === "GET" || REPEATABLE.has(operation.id);
}

/** Reports whether not_found is the answer to a repeated request that was done. */
export function deletes(operation: Operation): boolean {
  return operation.method === "DELETE" && REPEATABLE.has(operation.id);
}

/** Returns how many seconds the server can be silent before its answer. */
export function silenceOf(operation: Operation, timeout: number, wait: number | undefined): number {
  if (wait !== undefined) return Math.max(timeout, wait + 30);
  if (operation.id === "run") return RUN;
  return SLOW_ONES.has(operation.id) ? Math.max(timeout, SLOW) : timeout;
}

/** The pauses between retries: short after a broken connection, longer while a server starts. */
export class Backoff {
  readonly #patience: number;
  #pause = 0.1;
  #until = 0;

  constructor(patience: number) {
    this.#patience = patience;
    this.progress();
  }

  /** Begins again, because the server answered. */
  progress(): void {
    this.#pause = 0.1;
    this.#until = clock.now() + this.#patience;
  }

  /** Sets a shorter time for all retries together. */
  limit(seconds: number): void {
    this.#until = Math.min(this.#until, clock.now() + seconds);
  }

  /** Returns the seconds before the next retry, or undefined if there is none. */
  next(): number | undefined {
    const pause = this.#pause;
    this.#pause = Math.min(2 * pause, 2);
    return clock.now() + pause < this.#until ? pause : undefined;
  }
}

/** A time at which waiting ends. */
export class Deadline {
  /** Seconds from the beginning, or undefined if waiting has no end. */
  readonly seconds: number | undefined;
  readonly #at: number;

  constructor(seconds: number | undefined) {
    this.seconds = seconds;
    this.#at = clock.now() + (seconds ?? Number.POSITIVE_INFINITY);
  }

  /** Returns how many seconds the next request can wait. */
  poll(): number {
    return Math.max(0, Math.min(POLL, this.#at - clock.now()));
  }

  /** True if the time has come. */
  get over(): boolean {
    return clock.now() >= this.#at;
  }
}

/** Returns the value of the query parameter wait. */
export function waiting(seconds: number | undefined): string | undefined {
  return seconds === undefined ? undefined : `${seconds.toFixed(3)}s`;
}
