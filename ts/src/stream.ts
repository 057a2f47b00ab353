/** The events of one cell while it runs. */

import type { Cell, OnInput } from "./cell.js";
import { CellholdError } from "./errors.js";
import type { Event } from "./events.js";
import type { Link } from "./link.js";
import { op } from "./operations.js";
import type { AbortOption } from "./options.js";

/** How a stream is read. */
export interface StreamSettings extends AbortOption {
  onInput?: OnInput;
  throws: boolean;
}

/**
 * The events of a cell, in order, each once. A broken connection is replaced without loss.
 *
 * The cell is submitted when the loop begins. The end of the loop does not end the cell.
 */
export class Stream implements AsyncIterable<Event>, AsyncDisposable {
  #cell: Cell | undefined;
  readonly #events: AsyncGenerator<Event>;

  /** Made by the package. */
  constructor(link: Link, submit: () => Promise<Cell>, settings: StreamSettings) {
    this.#events = this.#read(link, submit, settings);
  }

  /** The cell. After the loop it is done, with its outputs. Throws CellholdError before the loop begins. */
  get cell(): Cell {
    if (this.#cell) return this.#cell;
    throw new CellholdError("The cell is submitted when the loop over the stream begins.");
  }

  /** Returns the events, for a `for await` loop. */
  [Symbol.asyncIterator](): AsyncGenerator<Event> {
    return this.#events;
  }

  /** Reads the stream to its end, and returns the cell. */
  async result(): Promise<Cell> {
    for await (const _ of this.#events);
    return this.cell;
  }

  /** Closes the connection. The cell continues. */
  async close(): Promise<void> {
    await this.#events.return(undefined);
  }

  /** Closes the connection at the end of the block. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async *#read(link: Link, submit: () => Promise<Cell>, settings: StreamSettings): AsyncGenerator<Event> {
    const { onInput, signal, throws } = settings;
    const cell = await submit();
    this.#cell = cell;
    const after = (cell.data.first ?? 1) - 1;
    for await (const event of link.watch(op.readEvents, { signal }, after, "session_ended")) {
      const ended = event.type === "session_ended";
      if (event.cell !== cell.id && !ended) continue;
      yield event;
      if (event.type === "input_request" && onInput) await cell.ask(event, onInput);
      if (event.type === "cell_done" || ended) break;
    }
    await cell.refresh();
    if (throws) cell.check();
  }
}
