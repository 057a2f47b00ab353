/** The kernels of a session. */

import type { Cell } from "./cell.js";
import type { Link } from "./link.js";
import type * as models from "./models.js";
import { op } from "./operations.js";
import type { RunOptions, Session, StreamOptions, SubmitOptions } from "./session.js";
import type { Stream } from "./stream.js";
import { listOf } from "./values.js";

/** One kernel of a session, with variables and a queue of its own. */
export class Kernel {
  /** The kernel as the server sent it last: spec, language, state, number of queued cells. */
  readonly data: models.Kernel;
  readonly #session: Session;
  readonly #link: Link;

  /** Made by the package. */
  constructor(session: Session, link: Link, data: models.Kernel) {
    this.#session = session;
    this.#link = link;
    this.data = data;
  }

  /** Id of the kernel, unique within its session. */
  get id(): string {
    return this.data.id;
  }

  /** Runs code in this kernel. The options are those of `session.run`. */
  run(code: string, options: Omit<RunOptions, "kernel"> = {}): Promise<Cell> {
    return this.#session.run(code, { ...options, kernel: this.id });
  }

  /** Queues code in this kernel. The options are those of `session.submit`. */
  submit(code: string, options: Omit<SubmitOptions, "kernel"> = {}): Promise<Cell> {
    return this.#session.submit(code, { ...options, kernel: this.id });
  }

  /** Returns the events of code in this kernel. The options are those of `session.stream`. */
  stream(code: string, options: Omit<StreamOptions, "kernel"> = {}): Stream {
    return this.#session.stream(code, { ...options, kernel: this.id });
  }

  /** Returns the texts that can stand at the cursor. The arguments are those of `session.complete`. */
  complete(code: string, cursor?: number): Promise<models.Completion> {
    return this.#session.complete(code, { cursor, kernel: this.id });
  }

  /** Returns the description of an object. The arguments are those of `session.inspect`. */
  inspect(code: string, cursor?: number, detail?: 0 | 1): Promise<models.Inspection> {
    return this.#session.inspect(code, { cursor, detail, kernel: this.id });
  }

  /** Returns whether code can run or needs more lines, as `session.isComplete` does. */
  isComplete(code: string): Promise<models.Completeness> {
    return this.#session.isComplete(code, this.id);
  }

  /** Returns the code of the newest cells of this kernel, the oldest of them first. */
  history(limit?: number): Promise<models.HistoryEntry[]> {
    return this.#session.history({ kernel: this.id, limit });
  }

  /** Interrupts the running cell. The variables are kept. */
  interrupt(): Promise<void> {
    return this.#session.interrupt(this.id);
  }

  /** Restarts the kernel. The variables are lost. */
  restart(): Promise<void> {
    return this.#session.restart(this.id);
  }

  /** Ends the kernel. Its cells can still be read. Throws ConflictError for the first kernel. */
  async delete(): Promise<void> {
    await this.#link.send(op.deleteKernel, { parts: [this.id] });
  }
}

/** The kernels of a session: `session.kernels`. They share the files and limits of the session. */
export class Kernels {
  readonly #session: Session;
  readonly #link: Link;

  /** Made by the package. */
  constructor(session: Session, link: Link) {
    this.#session = session;
    this.#link = link;
  }

  /**
   * Starts another kernel, and returns it when it is idle. A session has at most 8.
   *
   * spec is a name of `specs`, such as "bash". id is your id of the kernel. cwd is an absolute path of an existing directory.
   */
  async start(spec: string, options: { id?: string; cwd?: string } = {}): Promise<Kernel> {
    const json: models.AddKernel = { spec, id: options.id, cwd: options.cwd };
    return new Kernel(this.#session, this.#link, await this.#link.call<models.Kernel>(op.addKernel, { json }));
  }

  /** Returns the kernels that can be started: name, display name and language. */
  async specs(): Promise<models.KernelSpec[]> {
    return listOf((await this.#link.call<models.KernelSpecList>(op.listKernelspecs)).kernelspecs);
  }

  /** Returns the kernels, the first one first. */
  async list(): Promise<Kernel[]> {
    const { kernels } = await this.#link.call<models.KernelList>(op.listKernels);
    return listOf(kernels).map((data) => new Kernel(this.#session, this.#link, data));
  }
}
