/** The ports of a session. */

import { webStream } from "./body.js";
import { InvalidError, UnsupportedError } from "./errors.js";
import type { Link } from "./link.js";
import type * as models from "./models.js";
import { op } from "./operations.js";
import type { Answer } from "./transport.js";

/** Options of a request to a program. They are those of `fetch`. */
export interface PortInit {
  /** GET (the default), POST, PUT, PATCH, DELETE, HEAD or OPTIONS. */
  method?: string;
  /** Headers. The program gets no Authorization and no cookies. */
  headers?: HeadersInit;
  /** Body. A stream is sent once. */
  body?: BodyInit;
  /** "follow" follows redirects that stay at the port. Default: "manual". */
  redirect?: "follow" | "manual";
  /** Ends the request when it aborts. */
  signal?: AbortSignal;
  /** Seconds to wait for a program that does not listen yet. Default: 0. */
  wait?: number;
  /** Seconds without bytes after which the request fails. Default: that of the client. */
  timeout?: number;
}

/**
 * Programs of a session that listen on a port of its loopback: `session.ports`. You reach them through the server.
 *
 * Answers come from untrusted code. Check them before you use them, and limit what you read.
 */
export class Ports {
  readonly #link: Link;

  /** Made by the package. */
  constructor(link: Link) {
    this.#link = link;
  }

  /**
   * Sends an HTTP request to the program on a port, and returns its answer, whatever its status. path can have a query.
   *
   * Throws NotFoundError if no program listens, and other errors if the server cannot pass the request on. The request is not
   * repeated if the program can have got it.
   */
  async fetch(port: number, path = "/", init: PortInit = {}): Promise<Response> {
    const method = (init.method ?? "GET").toUpperCase();
    const below = targetOf(path);
    const headers = new Headers(init.headers);
    if (headers.has("Authorization")) {
      throw new InvalidError(
        "The header Authorization has the token of the server, and no program gets it. Remove it.",
      );
    }
    const { body, redirect, signal, timeout } = init;
    // A Response finds the type of a body, such as that of a form with its boundary.
    const built = body === undefined || body instanceof ReadableStream ? undefined : new Response(body);
    const type = built?.headers.get("Content-Type");
    if (type && !headers.has("Content-Type")) headers.set("Content-Type", type);
    const content = (await built?.blob()) ?? body;
    const answer = await this.#link.pass(
      { ...op.usePort, method, path: op.usePort.path.replace("/{path}", "") },
      {
        parts: [String(checkedPort(port))],
        below,
        headers: Object.fromEntries(headers),
        body: content === undefined ? undefined : () => content,
        once: body instanceof ReadableStream,
        silence: timeout,
        redirect,
        signal,
      },
      init.wait ?? 0,
    );
    return responseOf(answer);
  }

  /** Returns the path and the hosts of the ports, and the header with the token for the hosts. */
  access(): Promise<models.PortAccess> {
    return this.#link.call<models.PortAccess>(op.getPorts);
  }

  /** Returns the URL of a port below the path of the server. Other programs send the `headers` with it. */
  async url(port: number, path = "/"): Promise<string> {
    const found = placed((await this.access()).path, port);
    return (await this.#link.transport.open()).url + found.replace(/\/$/, "") + targetOf(path);
  }

  /** Returns the header with your token for `url`. The program does not get it. */
  async headers(): Promise<Record<string, string>> {
    const { token } = await this.#link.transport.open();
    return token ? { Authorization: `Bearer ${token}` } : {};
  }

  /**
   * Returns the host of a port, where its pages work in a browser. `access` has the token for it.
   *
   * Throws UnsupportedError if the server has no name for such hosts (--host).
   */
  async host(port: number): Promise<string> {
    const [first] = (await this.access()).hosts;
    if (!first) throw new UnsupportedError("The server has no name for hosts of ports (--host). Use url or fetch.");
    return placed(first, port);
  }
}

function checkedPort(port: number): number {
  if (Number.isInteger(port) && port >= 1 && port <= 65535) return port;
  throw new InvalidError(`Invalid port ${port}: use 1 to 65535.`);
}

/** Returns a path or host, from the form of the server with PORT in place of its number. */
function placed(form: string, port: number): string {
  return form.replace("PORT", String(checkedPort(port)));
}

/**
 * Returns the path and query of a request to a program. A path with the segment ".." would be a request to another part of
 * the API, with the token. A URL removes such segments here, but not their escaped forms, which the server would clean.
 */
function targetOf(path: string): string {
  const url = new URL(`http://port/${path.replace(/^\//, "")}`);
  let plain: string;
  try {
    plain = decodeURIComponent(url.pathname);
  } catch (cause) {
    throw new InvalidError(`Invalid path ${path}: it has an incomplete escape.`, { cause });
  }
  if (
    plain
      .replaceAll("\\", "/")
      .split("/")
      .some((segment) => segment === "." || segment === "..")
  ) {
    throw new InvalidError(`Invalid path ${path}: a segment is a dot. Give the path without it.`);
  }
  return url.pathname + url.search;
}

/** Returns the answer of a program with its body as a stream, whose connection is watched. */
function responseOf(answer: Answer): Response {
  const { status, statusText, headers, body, type } = answer.response;
  if (!body || type === "opaqueredirect") {
    answer.close();
    return answer.response;
  }
  return new Response(webStream(answer.pieces()), { status, statusText, headers });
}
