/** Runs: code in a sandbox that is used once. */

import { outputText } from "./commands.js";
import { UnavailableError } from "./errors.js";
import type * as models from "./models.js";
import { op } from "./operations.js";
import type { AbortOption } from "./options.js";
import { Failure, type Figure, failureOf, figuresOf, type Output, outputsOf, resultOf } from "./outputs.js";
import { Backoff, SILENCE } from "./policy.js";
import { lines } from "./sse.js";
import type { Transport } from "./transport.js";
import { listOf, parsed, plain, textOf, toBase64 } from "./values.js";

/** The result of a run. */
export class Run {
  /** The result as the server sent it. */
  readonly data: models.RunResult;

  /** Made by the package. */
  constructor(data: models.RunResult) {
    this.data = data;
  }

  /** Position of the run in its batch, from 0. */
  get index(): number {
    return this.data.index;
  }

  /** ok, failed, error, exit, signal, timeout, oom, compile_error, lost or refused. */
  get status(): models.RunResult["status"] {
    return this.data.status;
  }

  /** True if the code ended without an error, and all tests passed. */
  get ok(): boolean {
    return this.data.status === "ok";
  }

  /** Standard output. Above 128 KiB, a note is in place of its middle. */
  get stdout(): string {
    return outputText(this.data.stdout);
  }

  /** Standard error. Above 128 KiB, a note is in place of its middle. */
  get stderr(): string {
    return outputText(this.data.stderr);
  }

  /** Exit status, or undefined if there is none. */
  get exitCode(): number | undefined {
    return this.data.exit_code;
  }

  /** Figures, displays and the result of a cell, in order. */
  get outputs(): Output[] {
    return outputsOf(this.data.outputs);
  }

  /** The value of the last expression of a cell as text. */
  get result(): string | undefined {
    return resultOf(this.outputs);
  }

  /** Images that the code has shown, in order. */
  get figures(): Figure[] {
    return figuresOf(this.outputs);
  }

  /** Why the run failed, with the traceback as text. Undefined if it did not. */
  get error(): Failure | undefined {
    if (this.data.exception) return failureOf(this.data.exception);
    if (this.ok) return undefined;
    const reason = plain(textOf(this.data.error?.detail) || textOf(this.data.cause) || this.stderr);
    return new Failure(this.status, reason, reason ? `${this.status}: ${reason.trimEnd()}` : this.status);
  }

  /** Results of the tests, in the order of the request. */
  get tests(): models.RunTestResult[] {
    return listOf(this.data.tests);
  }

  /** Number of tests that passed. */
  get passed(): number {
    return this.data.passed;
  }

  /** Files that the code wrote, with their content if it is small. */
  get files(): models.RunChangedFile[] {
    return listOf(this.data.files);
  }

  /** Seconds, CPU seconds and bytes of memory that the code used. */
  get usage(): models.Usage | undefined {
    return this.data.usage;
  }
}

/** Returns the files of a run in the form of the API. */
export function runFiles(
  files: Readonly<Record<string, string | Uint8Array>> | undefined,
): models.RunFile[] | undefined {
  return (
    files &&
    Object.entries(files).map(([path, content]) =>
      typeof content === "string" ? { path, content } : { path, content: toBase64(content), encoding: "base64" },
    )
  );
}

/** Options of a batch of runs. */
export interface BatchOptions extends AbortOption {
  /** Maximum number of runs at the same time. Default: 8. */
  parallel?: number;
  /**
   * Your name for the batch. With it the batch survives a lost connection, and no code runs twice. Without it, the batch ends
   * with the loop.
   */
  key?: string;
}

/** Yields the result of each run once. */
export async function* batch(
  transport: Transport,
  requests: readonly models.RunRequest[],
  options: BatchOptions,
): AsyncGenerator<Run> {
  const { parallel, key, signal } = options;
  const json: models.StartRuns = { runs: [...requests], parallel };
  const backoff = new Backoff(transport.patience);
  const seen = new Set<number>();
  while (seen.size < requests.length) {
    try {
      const answer = await transport.stream(op.runBatch, { json, key, signal, silence: SILENCE });
      for await (const line of lines(answer.pieces())) {
        backoff.progress();
        const run = line ? new Run(parsed<models.RunResult>(line)) : undefined;
        if (!run || seen.has(run.index)) continue;
        seen.add(run.index);
        yield run;
      }
      if (seen.size < requests.length) throw new UnavailableError("The batch ended before all its results.");
    } catch (error) {
      await transport.pause(backoff, error, key !== undefined, signal);
    }
  }
}
