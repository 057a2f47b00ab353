/** Reads lines and server-sent events from pieces of bytes. It makes no requests. */

import { InternalError } from "./errors.js";

/** Maximum length of a line, in UTF-16 units. The largest event has 16 MiB. */
export const MAX_LINE = 32 << 20;

/** One server-sent event: the field event, and the data. */
export interface Message {
  readonly event: string;
  readonly data: string;
}

/** Yields the lines of a text in UTF-8, without their ends. Throws InternalError above the limit. */
export async function* lines(pieces: AsyncIterable<Uint8Array>, limit = MAX_LINE): AsyncGenerator<string> {
  const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  let parts: string[] = [];
  let size = 0;
  for await (const piece of pieces) {
    const complete = decoder.decode(piece, { stream: true }).split("\n");
    const rest = complete.pop() ?? "";
    for (const [index, line] of complete.entries()) {
      const whole = index === 0 ? parts.join("") + line : line;
      yield whole.endsWith("\r") ? whole.slice(0, -1) : whole;
    }
    if (complete.length > 0) [parts, size] = [[], 0];
    parts.push(rest);
    size += rest.length;
    if (size > limit) throw new InternalError(`The server sent a line above the limit of ${limit} characters.`);
  }
}

/** Yields the server-sent events of a text. Comments are skipped. */
export async function* messages(pieces: AsyncIterable<Uint8Array>): AsyncGenerator<Message> {
  let event = "";
  let data: string[] = [];
  for await (const line of lines(pieces)) {
    const colon = line.indexOf(":");
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + (line[colon + 1] === " " ? 2 : 1));
    if (line === "") {
      if (data.length > 0) yield { event, data: data.join("\n") };
      [event, data] = ["", []];
    } else if (name === "event") {
      event = value;
    } else if (name === "data") {
      data.push(value);
    }
  }
}
