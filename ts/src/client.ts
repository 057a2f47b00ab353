/** One server. */

import { RunError, UnavailableError } from "./errors.js";
import type * as models from "./models.js";
import { type Operation, op } from "./operations.js";
import { type AbortOption, type EgressSetting, egressOf } from "./options.js";
import { type BatchOptions, batch, Run, runFiles } from "./run.js";
import { Session, type SessionSettings } from "./session.js";
import { Transport, type TransportOptions } from "./transport.js";
import { listOf } from "./values.js";

/** Options of a client. */
export type ClientOptions = TransportOptions;

/** Options of a run. The code, or a line for a shell, and what the sandbox has before. */
export interface RunOnceOptions extends AbortOption {
  /** A line for a shell, in place of code. */
  command?: string;
  /** python, bash, javascript, typescript, r, c, cpp, go, rust or java. */
  language?: string;
  /** "cell" for figures and values, "program" for arguments, input and an exit status. */
  mode?: "cell" | "program";
  /** Arguments of the program. */
  args?: string[];
  /** Standard input of the program. */
  stdin?: string;
  /** Files that the sandbox has before: the content by path. */
  files?: Record<string, string | Uint8Array>;
  /** Requirements to install before, in the syntax of pip. */
  packages?: string[];
  /** Inputs and expected outputs of the program. */
  tests?: models.RunTest[];
  /** Variables to add to the environment. */
  env?: Record<string, string>;
  /** "none", "public", or a list of hosts. */
  egress?: EgressSetting;
  /** Limits of the sandbox: sizes in bytes or as "2GiB", cpu in cores. */
  limits?: models.Limits;
  /** Name of an image. */
  image?: string;
  /** Name of a template. */
  template?: string;
  /** Seconds for the code, or for each test. */
  timeout?: number;
  /** Seconds for the whole run, at most 3600. */
  deadline?: number;
  /** Throw RunError if the run does not end with ok. */
  throwOnError?: boolean;
  /**
   * Your name for the run. With it the run continues without a connection, and a second request with it returns the same
   * result. Node's `fetch` waits 300 s for an answer, so give a key to longer runs.
   */
  key?: string;
}

/** One server, and its sessions, templates and runs. It holds no connection, so it needs no end. */
export class Client {
  readonly #transport: Transport;

  /**
   * Describes the server. No request is sent.
   *
   * The server is the first of these: url and token; the variables CELLHOLD_URL and CELLHOLD_TOKEN; a server on this machine
   * whose token this user can read; a private server, which ends with this process.
   */
  constructor(options: ClientOptions = {}) {
    this.#transport = new Transport(options);
  }

  /** @internal */
  get transport(): Transport {
    return this.#transport;
  }

  /** Creates a session, and returns it when its kernel is idle. */
  createSession(settings: SessionSettings = {}): Promise<Session> {
    return Session.create({ ...settings, client: this });
  }

  /** Returns an existing session by its id. Its `close` does not end it. Throws NotFoundError. */
  attach(id: string, options: { throwOnError?: boolean } = {}): Promise<Session> {
    return Session.attach(id, { ...options, client: this });
  }

  /** Returns the sessions of the token, newest first. */
  async sessions(): Promise<models.Session[]> {
    return listOf((await this.#transport.call<models.SessionList>(op.listSessions)).sessions);
  }

  /** Returns the templates of the server, the default one first. */
  async templates(): Promise<models.Template[]> {
    return listOf((await this.#transport.call<models.TemplateList>(op.listTemplates)).templates);
  }

  /** Returns the versions of the server, its API and Go. */
  version(): Promise<models.Version> {
    return this.#transport.call<models.Version>(op.version);
  }

  /** Returns numbers for monitoring: sessions, memory in bytes, seconds since the start. */
  status(): Promise<models.Status> {
    return this.#transport.call<models.Status>(op.status);
  }

  /** Reports whether the server answers. It needs no token. */
  isAlive(): Promise<boolean> {
    return this.#answers(op.health);
  }

  /** Reports whether the server can create sessions. It needs no token. */
  isReady(): Promise<boolean> {
    return this.#answers(op.ready);
  }

  async #answers(operation: Operation): Promise<boolean> {
    try {
      await this.#transport.send(operation, { once: true });
      return true;
    } catch (error) {
      if (error instanceof UnavailableError) return false;
      throw error;
    }
  }

  /**
   * Runs code, or a shell command, in a sandbox that is used once. code has at most 4 MiB.
   *
   * Without a key, the run ends if the connection breaks, and is not repeated. Throws RunError if you ask for it.
   */
  async run(code: string | undefined, options: RunOnceOptions = {}): Promise<Run> {
    const { throwOnError, key, signal, files, egress, ...more } = options;
    const json: models.RunRequest = { ...more, code, files: runFiles(files), egress: egressOf(egress) };
    const found = new Run(await this.#transport.call<models.RunResult>(op.run, { json, key, signal }));
    if (throwOnError && !found.ok) throw new RunError(found);
    return found;
  }

  /** Yields the result of each run, in the order in which they end. `index` says which run it is. */
  runBatch(requests: readonly models.RunRequest[], options: BatchOptions = {}): AsyncGenerator<Run> {
    return batch(this.#transport, requests, options);
  }
}
