/** One cell of a session. */

import { CellError, ConflictError, WaitTimeout } from "./errors.js";
import type { Event, Prompt } from "./events.js";
import type { Link } from "./link.js";
import type * as models from "./models.js";
import { op } from "./operations.js";
import type { AbortOption } from "./options.js";
import { Failure, type Figure, figuresOf, type Output, outputsOf, resultOf, shown, streamed } from "./outputs.js";
import { Deadline, waiting } from "./policy.js";
import { Stream } from "./stream.js";
import { decoded, listOf, textOf } from "./values.js";

/** Answers a question of `input()`. */
export type OnInput = (question: Prompt) => string | Promise<string>;

/** One piece of code with its outputs and its result. */
export class Cell {
  /** The cell as the server sent it last. */
  data: models.Cell;
  readonly #link: Link;

  /** Made by the package. */
  constructor(link: Link, data: models.Cell) {
    this.#link = link;
    this.data = data;
  }

  /** Id of the cell, unique within its session. */
  get id(): string {
    return this.data.id;
  }

  /** The submitted source code. */
  get code(): string {
    return this.data.code;
  }

  /** Id of the kernel that runs the cell. */
  get kernel(): string {
    return this.data.kernel;
  }

  /** State of the cell. */
  get state(): models.Cell["state"] {
    return this.data.state;
  }

  /** Result of a done cell, such as ok, error, interrupted or timeout. */
  get status(): models.Cell["status"] {
    return this.data.status;
  }

  /** True if the cell has ended. */
  get done(): boolean {
    return this.data.state === "done";
  }

  /** True if the cell ended without an error. */
  get ok(): boolean {
    return this.data.status === "ok";
  }

  /** All outputs, in order. Progress bars show only their last state. */
  get outputs(): Output[] {
    return outputsOf(this.data.outputs);
  }

  /** Everything that the cell printed, and the text forms of its displays and its result, in order. */
  get text(): string {
    return shown(this.outputs);
  }

  /** Text on standard output. If `truncated` is true, only its beginning and its end. */
  get stdout(): string {
    return streamed(this.outputs, "stdout");
  }

  /** Text on standard error. If `truncated` is true, only its beginning and its end. */
  get stderr(): string {
    return streamed(this.outputs, "stderr");
  }

  /** The value of the last expression as text. */
  get result(): string | undefined {
    return resultOf(this.outputs);
  }

  /** Why the cell did not end with ok, with the traceback as text. Undefined if it did, or is not done. */
  get error(): Failure | undefined {
    const status = this.data.status;
    if (status === undefined || status === "ok") return undefined;
    const raised = this.outputs.flatMap((output) => output.error ?? []).at(-1);
    if (raised && status === "error") return raised;
    const cause = textOf(this.data.cause);
    const sentence = cause ? `${status}: ${cause}` : status;
    return new Failure(status, cause, raised ? `${raised.traceback}\n${sentence}` : sentence);
  }

  /** Images that the cell has shown, in order. */
  get figures(): Figure[] {
    return figuresOf(this.outputs);
  }

  /** Files that were written while the cell ran, at most 100, with path, size in bytes and time. */
  get files(): models.CellFile[] {
    return listOf(this.data.files);
  }

  /** Seconds, CPU seconds and bytes of memory that a done cell used. */
  get usage(): models.Usage | undefined {
    return this.data.usage;
  }

  /** True if `outputs` has only the beginning and the end. `readText` reads the rest. */
  get truncated(): boolean {
    return this.data.truncated === true;
  }

  /**
   * Waits until the cell is done, and returns it. timeout is in seconds and does not end the cell.
   *
   * Throws WaitTimeout if the time ends first.
   */
  async wait(options: { timeout?: number } & AbortOption = {}): Promise<this> {
    return this.until(new Deadline(options.timeout), options.signal);
  }

  /** @internal */
  async until(deadline: Deadline, signal?: AbortSignal): Promise<this> {
    while (!this.done) {
      if (deadline.over) {
        throw new WaitTimeout(`The cell ${this.id} is not done after ${deadline.seconds} s. It continues.`, this);
      }
      await this.#get(deadline.poll(), signal);
    }
    return this;
  }

  /** Reads the cell again, with its outputs so far and its late output, and returns it. */
  async refresh(): Promise<this> {
    await this.#get();
    return this;
  }

  async #get(wait?: number, signal?: AbortSignal): Promise<void> {
    const request = { parts: [this.id], query: { wait: waiting(wait) }, wait, signal };
    this.data = await this.#link.call<models.Cell>(op.getCell, request);
  }

  /** Returns the events of the cell from its beginning, live. */
  stream(options: { onInput?: OnInput } & AbortOption = {}): Stream {
    return new Stream(this.#link, async () => this, { ...options, throws: false });
  }

  /** Cancels the cell if it waits, or interrupts it if it runs, and returns it. Throws ConflictError if it is done. */
  async cancel(): Promise<this> {
    this.data = await this.#link.call<models.Cell>(op.cancelCell, { parts: [this.id] });
    return this;
  }

  /** Interrupts the cell if it runs. Another cell is never interrupted. The kernel keeps its variables. */
  async interrupt(): Promise<void> {
    await this.#link.send(op.interrupt, { query: { kernel: this.kernel, cell: this.id } });
  }

  /**
   * Answers a question of the cell, which must have been submitted with allowStdin.
   *
   * value has no line break and at most 1 MiB. request is the number of the input_request event. Default: the open question.
   * Throws ConflictError if there is no such question.
   */
  async answer(value: string, options: { request?: number } = {}): Promise<void> {
    const json: models.AnswerInput = { value, request: options.request };
    await this.#link.send(op.answerInput, { parts: [this.id], json });
  }

  /**
   * Returns the full text that the cell printed to a stream up to now, at most 256 MiB.
   *
   * stream is stdout (the default) or stderr. offset and limit are in bytes. Bytes that are not UTF-8 become U+FFFD.
   */
  async readText(options: { stream?: "stdout" | "stderr"; offset?: number; limit?: number } = {}): Promise<string> {
    const { stream = "stdout", offset = 0, limit } = options;
    return decoded(await this.#link.send(op.getCellText, { parts: [this.id], query: { stream, offset, limit } }));
  }

  /** @internal Asks the caller, and answers the cell. A question that ended before needs no answer. */
  async ask(event: Event, onInput: OnInput): Promise<void> {
    const prompt = { text: textOf(event.content.prompt), password: event.content.password === true };
    const value = await onInput(prompt);
    try {
      await this.answer(value, { request: event.seq });
    } catch (error) {
      if (!(error instanceof ConflictError)) throw error;
    }
  }

  /** Returns the cell. Throws CellError if it is done and did not end with ok. */
  check(): this {
    if (this.done && !this.ok) throw new CellError(this);
    return this;
  }
}

/** The cells of a session: `session.cells`. */
export class Cells {
  readonly #link: Link;

  /** Made by the package. */
  constructor(link: Link) {
    this.#link = link;
  }

  /** Returns all cells with their outputs, oldest first. */
  async list(): Promise<Cell[]> {
    const { cells } = await this.#link.call<models.CellList>(op.listCells);
    return listOf(cells).map((data) => new Cell(this.#link, data));
  }

  /** Returns a cell by its id. Throws NotFoundError. */
  async get(id: string): Promise<Cell> {
    return new Cell(this.#link, await this.#link.call<models.Cell>(op.getCell, { parts: [id] }));
  }
}
