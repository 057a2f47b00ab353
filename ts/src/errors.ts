/**
 * The errors of the package: one class for each kind of error of the server, and those of code that failed. An exception in
 * a cell is not an error of the package, unless you ask for it with `throwOnError`.
 */

import type { Cell } from "./cell.js";
import type { Command } from "./commands.js";
import type { ProblemField } from "./models.js";
import type { Run } from "./run.js";
import { plain, textOf } from "./values.js";

/** What is known about an error besides its sentence. */
export interface ErrorDetails {
  /** HTTP status, or 0 if there was no answer. */
  status?: number;
  /** Id of the request in the log of the server, or "". */
  requestId?: string;
  /** Invalid parts of the request, each with location and message. */
  fields?: ProblemField[];
  /** The error that caused this one. */
  cause?: unknown;
}

/** The base class of all errors of this package. The message is the sentence of the server. */
export class CellholdError extends Error {
  /** Kind of the error, such as "not_found". */
  readonly kind: string = "internal";
  /** The sentence for people. Its words can change. */
  readonly detail: string;
  /** HTTP status, or 0 if there was no answer. */
  readonly status: number;
  /** Id of the request in the log of the server, or "". */
  readonly requestId: string;
  /** Invalid parts of the request, each with location and message. */
  readonly fields: ProblemField[];

  constructor(detail: string, details: ErrorDetails = {}) {
    const fields = details.fields ?? [];
    const lines = fields.map((field) => `\n  ${field.location ?? "request"}: ${field.message}`);
    super(detail + lines.join(""), { cause: details.cause });
    this.name = new.target.name;
    this.detail = detail;
    this.status = details.status ?? 0;
    this.requestId = details.requestId ?? "";
    this.fields = fields;
  }
}

/** The request is wrong. Correct it. */
export class InvalidError extends CellholdError {
  override readonly kind = "invalid";
}

/** The thing does not exist, or belongs to another token. */
export class NotFoundError extends CellholdError {
  override readonly kind = "not_found";
}

/** The request does not fit the state, such as a checkpoint while a cell runs. */
export class ConflictError extends CellholdError {
  override readonly kind = "conflict";
}

/** The token is missing or wrong, or the settings of the operator do not allow the request. */
export class DeniedError extends CellholdError {
  override readonly kind = "denied";
}

/** A limit is reached. End or delete something, or raise the limit. */
export class ExhaustedError extends CellholdError {
  override readonly kind = "exhausted";
}

/** The server cannot be reached, or cannot do it now. The request can have had its effect: check before a retry. */
export class UnavailableError extends CellholdError {
  override readonly kind = "unavailable";
}

/** This server, its host or this JavaScript runtime cannot do it. */
export class UnsupportedError extends CellholdError {
  override readonly kind = "unsupported";
}

/** A mistake of the server. Its log has the `requestId`. */
export class InternalError extends CellholdError {
  override readonly kind = "internal";
}

/** The time to wait ended. The cell or command continues. */
export class WaitTimeout extends CellholdError {
  override readonly kind = "timeout";
  /** The cell or command. Its method `wait` waits longer. */
  readonly waited: Cell | Command;

  constructor(detail: string, waited: Cell | Command) {
    super(detail);
    this.waited = waited;
  }
}

/** A cell did not end with ok, and `throwOnError` is set. The message has the traceback. */
export class CellError extends CellholdError {
  override readonly kind = "cell";
  /** The cell, with its outputs. */
  readonly cell: Cell;

  constructor(cell: Cell) {
    super(String(cell.error ?? cell.status));
    this.cell = cell;
  }
}

/** A command did not end with exit status 0, and `throwOnError` is set. */
export class CommandError extends CellholdError {
  override readonly kind = "command";
  /** The command, with its output. */
  readonly command: Command;

  constructor(command: Command) {
    super(`The command ended with ${command.ending}.\n${plain(command.stderr).slice(-2000)}`.trimEnd());
    this.command = command;
  }
}

/** A run did not end with ok, and `throwOnError` is set. */
export class RunError extends CellholdError {
  override readonly kind = "run";
  /** The run, with its outputs. */
  readonly run: Run;

  constructor(run: Run) {
    super(String(run.error ?? `The run ended with ${run.status}.`));
    this.run = run;
  }
}

type ErrorClass = new (detail: string, details?: ErrorDetails) => CellholdError;

const KINDS = new Map<string, ErrorClass>([
  ["invalid", InvalidError],
  ["not_found", NotFoundError],
  ["conflict", ConflictError],
  ["denied", DeniedError],
  ["exhausted", ExhaustedError],
  ["unavailable", UnavailableError],
  ["unsupported", UnsupportedError],
  ["internal", InternalError],
]);

/** Classes of answers without a problem document, such as those of a proxy. */
const STATUSES = new Map<number, ErrorClass>([
  [400, InvalidError],
  [401, DeniedError],
  [403, DeniedError],
  [404, NotFoundError],
  [409, ConflictError],
  [413, InvalidError],
  [416, InvalidError],
  [422, InvalidError],
  [429, ExhaustedError],
  [501, UnsupportedError],
  [502, UnavailableError],
  [503, UnavailableError],
  [504, UnavailableError],
]);

/** Returns the error of an answer. If the body is no problem document, the status decides the class. */
export function fromAnswer(status: number, body: string): CellholdError {
  const found = fromProblem(status, body);
  if (found) return found;
  const Class = STATUSES.get(status) ?? InternalError;
  return new Class(`The server answered with status ${status}.`, { status });
}

/** Returns the error of a problem document of the server, or undefined if the body is something else. */
export function fromProblem(status: number, body: string): CellholdError | undefined {
  let problem: Record<string, unknown>;
  try {
    problem = JSON.parse(body);
  } catch {
    return undefined;
  }
  const Class = KINDS.get(textOf(problem?.kind));
  if (!Class || typeof problem.detail !== "string") return undefined;
  return new Class(problem.detail, { status, requestId: textOf(problem.request_id), fields: fieldsOf(problem.errors) });
}

function fieldsOf(value: unknown): ProblemField[] {
  if (!Array.isArray(value)) return [];
  return value.filter((field) => field && typeof field === "object" && typeof field.message === "string");
}
