/** One session: a sandbox with its kernels, files and events. */

import { Cell, Cells, type OnInput } from "./cell.js";
import { Client, type ClientOptions } from "./client.js";
import { Commands } from "./commands.js";
import { Event } from "./events.js";
import { Files } from "./files.js";
import { Kernels } from "./kernels.js";
import { Link } from "./link.js";
import type * as models from "./models.js";
import { Checkpoints, Egress, Notebook, Packages } from "./nouns.js";
import { op } from "./operations.js";
import type { AbortOption, EgressSetting, FiguresSetting, SecretsSetting } from "./options.js";
import { egressOf, figuresSetting, secretsOf } from "./options.js";
import type { Output } from "./outputs.js";
import { Deadline, waiting } from "./policy.js";
import { Ports } from "./ports.js";
import { Stream } from "./stream.js";
import { listOf, randomKey } from "./values.js";

/** Settings of a new session. */
export interface SessionSettings extends AbortOption {
  /** Label of the person or agent, at most 256 characters. */
  user?: string;
  /** Name of a template of the server. */
  template?: string;
  /** Name of an image of the server. */
  image?: string;
  /** Code that runs without output after each start of the kernel, at most 64 KiB. */
  startup?: string;
  /** Requirements to install at the creation, in the syntax of pip. */
  packages?: readonly string[];
  /** Variables to add to the environment, at most 64 KiB. */
  env?: Record<string, string>;
  /** Working directory, an absolute path that exists. Default: /workspace. */
  cwd?: string;
  /** "none", "public", or a list of hosts that code can reach. */
  egress?: EgressSetting;
  /** Values that code can use without seeing them: `{ KEY: { host: "api.example.org", value } }`. */
  secrets?: SecretsSetting;
  /** memory, disk, tmp and output in bytes or as "2GiB"; cpu in cores; processes. */
  limits?: models.Limits;
  /** Formats of figures, such as ["png", "svg"], or formats with dpi. */
  figures?: FiguresSetting;
  /** Your notes, at most 32. */
  metadata?: Record<string, string>;
  /** Seconds until the session ends, even if it is used. Default: it ends when it is idle. */
  lifetime?: number;
  /** What happens after lifetime. Default: end. */
  atDeadline?: "end" | "hibernate";
  /** Use or request that resumes the session after a requested hibernation. */
  resume?: "use" | "request";
  /** Let everybody reach the ports through hosts of the server, without a token. */
  publicPorts?: boolean;
  /** Throw CellError and CommandError for code that fails. Default: false. */
  throwOnError?: boolean;
  /** Your name for the session: a second creation with the same key returns the same session. */
  key?: string;
}

/** Options of a new session: its settings, and the server. */
export interface SessionOptions extends SessionSettings, ClientOptions {
  /** Client of a server, in place of the options of a client. */
  client?: Client;
}

/** Options of code that is queued. */
export interface SubmitOptions extends AbortOption {
  /** Seconds after which the cell is interrupted, without its time in the queue. Variables stay. */
  timeout?: number;
  /** Id of the kernel. Default: the first one. */
  kernel?: string;
  /** Environment variables of this cell only. */
  env?: Record<string, string>;
  /** Formats of figures, such as ["png", "svg"]. */
  figures?: FiguresSetting;
  /** Effect on the queued cells if this cell fails. */
  onError?: "continue" | "cancel";
  /** Your name for the cell: a second submission with the same key returns the same cell. */
  key?: string;
  /** Let the code call `input()`. Answer it with `cell.answer`. */
  allowStdin?: boolean;
}

/** Options of code whose events you read. */
export interface StreamOptions extends Omit<SubmitOptions, "allowStdin"> {
  /** Called with the question of `input()`. Returns the answer. */
  onInput?: OnInput;
  /** Throw CellError if the cell does not end with ok. Default: as for the session. */
  throwOnError?: boolean;
}

/** Options of code that you wait for. */
export interface RunOptions extends StreamOptions {
  /** Seconds after which the call throws WaitTimeout. The cell continues. */
  wait?: number;
  /** Called with each piece of text on standard output. */
  onStdout?: (text: string) => void;
  /** Called with each piece of text on standard error. */
  onStderr?: (text: string) => void;
  /** Called with each output. */
  onOutput?: (output: Output) => void;
}

/** A sandbox with kernels that keep their variables from cell to cell. */
export class Session implements AsyncDisposable {
  /** The client of the session's server. */
  readonly client: Client;
  /** Whether code that fails throws CellError and CommandError. */
  readonly throwOnError: boolean;
  /** The cells. */
  readonly cells: Cells;
  /** The files. */
  readonly files: Files;
  /** The commands: programs outside the kernels. */
  readonly commands: Commands;
  /** The kernels. */
  readonly kernels: Kernels;
  /** The packages. */
  readonly packages: Packages;
  /** The programs that listen on ports. */
  readonly ports: Ports;
  /** The checkpoints. */
  readonly checkpoints: Checkpoints;
  /** The network access. */
  readonly egress: Egress;
  /** The notebook. */
  readonly notebook: Notebook;
  readonly #link: Link;
  #owned: boolean;
  #ended = false;

  private constructor(client: Client, id: string, owned: boolean, throwOnError: boolean) {
    const link = new Link(client.transport, id);
    this.client = client;
    this.throwOnError = throwOnError;
    this.#link = link;
    this.#owned = owned;
    this.cells = new Cells(link);
    this.files = new Files(link);
    this.commands = new Commands(link, throwOnError);
    this.kernels = new Kernels(this, link);
    this.packages = new Packages(link);
    this.ports = new Ports(link);
    this.checkpoints = new Checkpoints(link);
    this.egress = new Egress(link);
    this.notebook = new Notebook(link);
  }

  /**
   * Creates a session, and returns it when its kernel is idle. `await using` ends it with its block; otherwise call `close`.
   *
   * Without url and token, the server is that of CELLHOLD_URL and CELLHOLD_TOKEN, then one on this machine whose token this
   * user can read, then a private server, which ends with this process. A lost connection creates no second session.
   */
  static async create(options: SessionOptions = {}): Promise<Session> {
    const client = options.client ?? new Client(options);
    const { user, template, image, startup, env, cwd, limits, metadata, lifetime, resume, signal } = options;
    const json: models.CreateSession = {
      ...{ user, template, image, startup, env, cwd, limits, metadata, lifetime, resume },
      egress: egressOf(options.egress),
      secrets: secretsOf(options.secrets),
      figures: figuresSetting(options.figures),
      at_deadline: options.atDeadline,
      public_ports: options.publicPorts,
    };
    const key = options.key ?? randomKey();
    const data = await client.transport.call<models.Session>(op.createSession, { json, key, signal });
    const session = new Session(client, data.id, true, options.throwOnError ?? false);
    if (options.packages?.length) {
      try {
        await session.packages.install(options.packages, { signal });
      } catch (error) {
        await session.end().catch(() => undefined); // the caller gets the first error
        throw error;
      }
    }
    return session;
  }

  /** Returns an existing session by its id. Its `close` does not end it. Throws NotFoundError. */
  static async attach(
    id: string,
    options: { client?: Client; throwOnError?: boolean } & ClientOptions = {},
  ): Promise<Session> {
    const session = new Session(options.client ?? new Client(options), id, false, options.throwOnError ?? false);
    await session.info();
    return session;
  }

  /** Id of the session. */
  get id(): string {
    return this.#link.id;
  }

  /** Ends the session, unless it was attached or detached. */
  async close(): Promise<void> {
    if (this.#owned) await this.end();
  }

  /** Closes the session at the end of an `await using` block. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** Ends the session: its running cell, its sandbox, its files and its events. A second call does nothing. */
  async end(): Promise<void> {
    if (this.#ended) return;
    await this.#link.send(op.deleteSession);
    this.#ended = true;
  }

  /** Lets the session live after `close`, and returns its id for `attach`. */
  detach(): string {
    this.#owned = false;
    return this.id;
  }

  /** Returns the session as it is now: state, image, limits, egress, kernels, times. */
  info(): Promise<models.Session> {
    return this.#link.call<models.Session>(op.getSession);
  }

  /**
   * Runs code, and returns the cell when it is done. An exception in the code is in `cell.error`. code has at most 4 MiB.
   *
   * Throws CellError, WaitTimeout and the errors of the server. The connection can break without an error, and a lost answer
   * runs nothing twice.
   */
  async run(code: string, options: RunOptions = {}): Promise<Cell> {
    const { onStdout, onStderr, onOutput, onInput, throwOnError = this.throwOnError, signal } = options;
    const deadline = new Deadline(options.wait);
    const follows = Boolean(onStdout || onStderr || onOutput || onInput);
    const cell = await this.#submit(code, { ...options, allowStdin: Boolean(onInput) }, follows ? 0 : deadline.poll());
    if (follows) await this.#follow(cell, deadline, options);
    await cell.until(deadline, signal);
    return throwOnError ? cell.check() : cell;
  }

  /** Queues code, and returns the cell at once. code has at most 4 MiB. */
  submit(code: string, options: SubmitOptions = {}): Promise<Cell> {
    return this.#submit(code, options, 0);
  }

  /** Returns the events of code while it runs. The code is submitted when the `for await` loop begins. */
  stream(code: string, options: StreamOptions = {}): Stream {
    const { onInput, signal, throwOnError: throws = this.throwOnError } = options;
    const submit = () => this.#submit(code, { ...options, allowStdin: Boolean(onInput) }, 0);
    return new Stream(this.#link, submit, { onInput, signal, throws });
  }

  async #submit(code: string, options: SubmitOptions, wait: number): Promise<Cell> {
    const { timeout, kernel, env, figures, onError, allowStdin, key = randomKey(), signal } = options;
    const json: models.SubmitCell = {
      ...{ code, timeout, kernel, env, figures: figuresSetting(figures) },
      on_error: onError,
      allow_stdin: allowStdin || undefined,
    };
    const query = { wait: waiting(wait || undefined) };
    return new Cell(this.#link, await this.#link.call<models.Cell>(op.submitCell, { json, query, wait, key, signal }));
  }

  /** Calls the callbacks until the cell is done or the time to wait is over. */
  async #follow(cell: Cell, deadline: Deadline, options: RunOptions): Promise<void> {
    let after = (cell.data.first ?? 1) - 1;
    for (let running = true; running && !deadline.over; ) {
      const wait = deadline.poll();
      const request = { query: { after, wait: waiting(wait) }, wait, signal: options.signal };
      const page = await this.#link.call<models.EventPage>(op.readEvents, request);
      after = page.next;
      for (const event of listOf(page.events).map((data) => new Event(data))) {
        if (event.cell !== cell.id) continue;
        await report(cell, event, options);
        if (event.type === "cell_done") running = false;
      }
    }
    await cell.refresh();
  }

  /**
   * Yields all events of the session with numbers above after, live, until the session ends.
   *
   * A broken connection is replaced: no event is omitted, and none comes twice.
   */
  events(options: { after?: number } & AbortOption = {}): AsyncGenerator<Event> {
    return this.#link.watch(op.readEvents, { signal: options.signal }, options.after ?? 0, "session_ended");
  }

  /**
   * Returns one page of events with numbers above after. Empty if there are none.
   *
   * limit is at most 5000. wait is the number of seconds to wait for a first event, at most 600.
   */
  async readEvents(options: { after?: number; limit?: number; wait?: number } & AbortOption = {}): Promise<Event[]> {
    const { after = 0, limit, wait, signal } = options;
    const query = { after, limit, wait: waiting(wait) };
    const page = await this.#link.call<models.EventPage>(op.readEvents, { query, wait, signal });
    return listOf(page.events).map((data) => new Event(data));
  }

  /** Interrupts the running cell of a kernel. The kernel keeps its variables. Default: the first kernel. */
  async interrupt(kernel?: string): Promise<void> {
    await this.#link.send(op.interrupt, { query: { kernel } });
  }

  /** Restarts a kernel, and returns when it is idle. Its variables are lost, and files stay. Default: the first kernel. */
  async restart(kernel?: string): Promise<void> {
    await this.#link.send(op.restart, { query: { kernel } });
  }

  /**
   * Returns the texts that can stand at the cursor, as the Tab key does.
   *
   * cursor is a position in characters; its default is the end of the code. Throws ConflictError if the kernel is busy or the
   * session is hibernated. The texts come from the kernel, which is not trusted.
   */
  complete(code: string, options: { cursor?: number; kernel?: string } = {}): Promise<models.Completion> {
    const json: models.CompleteCode = { code, cursor: options.cursor, kernel: options.kernel };
    return this.#link.call<models.Completion>(op.complete, { json });
  }

  /**
   * Returns the description of the object at the cursor: signature and documentation, by MIME type.
   *
   * cursor is a position in characters; its default is the end of the code. detail 1 adds the source code. Throws
   * ConflictError if the kernel is busy or the session is hibernated.
   */
  inspect(
    code: string,
    options: { cursor?: number; detail?: 0 | 1; kernel?: string } = {},
  ): Promise<models.Inspection> {
    const json: models.InspectCode = { code, cursor: options.cursor, detail: options.detail, kernel: options.kernel };
    return this.#link.call<models.Inspection>(op.inspect, { json });
  }

  /** Returns whether code can run or needs more lines. The code does not run. Throws as `complete`. */
  isComplete(code: string, kernel?: string): Promise<models.Completeness> {
    const json: models.CheckCode = { code, kernel };
    return this.#link.call<models.Completeness>(op.isComplete, { json });
  }

  /** Returns the code of the newest cells, the oldest of them first. limit is at most 1000, by default 100. */
  async history(options: { kernel?: string; limit?: number } = {}): Promise<models.HistoryEntry[]> {
    const query = { kernel: options.kernel, limit: options.limit };
    return listOf((await this.#link.call<models.HistoryList>(op.getHistory, { query })).history);
  }

  /**
   * Saves memory, files and processes to disk. The next use resumes the session.
   *
   * Throws ConflictError if a cell, command or transfer is running.
   */
  async hibernate(): Promise<void> {
    await this.#link.send(op.hibernate);
  }

  /** Resumes a hibernated session, so that its next use is fast. */
  async resume(): Promise<void> {
    await this.#link.send(op.resume);
  }

  /** Saves the session under a name, for `rollback` and `fork`. The session continues. */
  checkpoint(name: string): Promise<models.Checkpoint> {
    return this.checkpoints.create(name);
  }

  /**
   * Restores variables, files and kernels of a checkpoint.
   *
   * Throws ConflictError if a cell, command or transfer is running. If it fails, the session does not change.
   */
  async rollback(checkpoint: string): Promise<void> {
    const json: models.RollBack = { checkpoint };
    await this.#link.send(op.rollback, { json });
  }

  /**
   * Creates sessions that continue from this one, as it is now or at a checkpoint. count is at most 16.
   *
   * Each fork ends with its own `close`. Throws ConflictError if code is running.
   */
  async fork(count = 1, options: { checkpoint?: string } = {}): Promise<Session[]> {
    const json: models.ForkSession = { count, checkpoint: options.checkpoint };
    const { sessions } = await this.#link.call<models.SessionList>(op.fork, { json });
    return listOf(sessions).map((data) => new Session(this.client, data.id, true, this.throwOnError));
  }

  /**
   * Sets when the session ends or hibernates, in seconds from now, even if it is used. Returns the time, or undefined if there
   * is none.
   */
  async setDeadline(lifetime: number, options: { atDeadline?: "end" | "hibernate" } = {}): Promise<Date | undefined> {
    const json: models.SetDeadline = { lifetime, at_deadline: options.atDeadline };
    const { deadline } = await this.#link.call<models.Session>(op.setDeadline, { json });
    return deadline === undefined ? undefined : new Date(deadline);
  }
}

/** Calls the callbacks for one event of a cell. */
async function report(cell: Cell, event: Event, options: RunOptions): Promise<void> {
  const { output } = event;
  if (output) options.onOutput?.(output);
  if (event.name === "stdout") options.onStdout?.(event.text);
  if (event.name === "stderr") options.onStderr?.(event.text);
  if (event.type === "input_request" && options.onInput) await cell.ask(event, options.onInput);
}
