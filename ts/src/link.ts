/** The requests of one session. */

import type { Event } from "./events.js";
import type { Operation } from "./operations.js";
import type { Answer, Request, Transport } from "./transport.js";

/** Sends the requests of one session: it fills in the session's id. */
export class Link {
  readonly transport: Transport;
  readonly id: string;

  constructor(transport: Transport, id: string) {
    this.transport = transport;
    this.id = id;
  }

  /** Sends a request, and returns the JSON object of its answer. */
  call<T>(operation: Operation, request: Request = {}): Promise<T> {
    return this.transport.call<T>(operation, this.#own(request));
  }

  /** Sends a request, and returns the bytes of its answer. */
  send(operation: Operation, request: Request = {}): Promise<Uint8Array> {
    return this.transport.send(operation, this.#own(request));
  }

  /** Sends a request once, and returns its answer with the body unread. */
  stream(operation: Operation, request: Request = {}): Promise<Answer> {
    return this.transport.stream(operation, this.#own(request));
  }

  /** Sends a request to a program. */
  pass(operation: Operation, request: Request, listening: number): Promise<Answer> {
    return this.transport.pass(operation, this.#own(request), listening);
  }

  /** Yields the events after a number, up to the first one of the type last. */
  watch(operation: Operation, request: Request, after: number, last: string): AsyncGenerator<Event> {
    return this.transport.watch(operation, this.#own(request), after, last);
  }

  #own(request: Request): Request {
    return { ...request, parts: [this.id, ...(request.parts ?? [])] };
  }
}
