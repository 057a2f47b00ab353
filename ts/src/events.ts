/** Events: everything that happens in a session, with numbers in order. */

import type * as models from "./models.js";
import { Output } from "./outputs.js";
import { decoded, fromBase64, objectOf, textOf } from "./values.js";

const OUTPUTS = new Set(["stream", "execute_result", "display_data", "error"]);

/** One event. Its number is unique within the session. New types can appear; ignore those that you do not know. */
export class Event {
  /** The event as the server sent it. */
  readonly data: models.Event;

  /** Made by the package. */
  constructor(data: models.Event) {
    this.data = data;
  }

  /** Number of the event in its session, from 1. */
  get seq(): number {
    return this.data.seq;
  }

  /** Type of the event, such as stream, execute_result, error, cell_done or session_ended. */
  get type(): string {
    return this.data.type;
  }

  /** Id of the cell of the event. */
  get cell(): string | undefined {
    return this.data.cell;
  }

  /** Id of the command of the event. */
  get command(): string | undefined {
    return this.data.command;
  }

  /** Id of the kernel of the event. */
  get kernel(): string | undefined {
    return this.data.kernel;
  }

  /** Content, which depends on the type. Outputs have Jupyter's content. */
  get content(): Record<string, unknown> {
    return objectOf(this.data.content);
  }

  /** stdout or stderr, if the event is printed text, otherwise "". */
  get name(): string {
    return this.type === "stream" ? textOf(this.content.name) : "";
  }

  /** The text of an output, or "". Bytes of a command that are not UTF-8 become U+FFFD. */
  get text(): string {
    if (this.type === "stream" && "data" in this.content) return decoded(this.bytes);
    return this.output?.text ?? "";
  }

  /** The bytes that a command printed, or the text of a cell as UTF-8. */
  get bytes(): Uint8Array {
    if (this.type !== "stream") return new Uint8Array();
    if (!("data" in this.content)) return new TextEncoder().encode(textOf(this.content.text));
    return fromBase64(this.content.data) ?? new Uint8Array();
  }

  /** The output, if the event is one: printed text, a result, a display or an exception. */
  get output(): Output | undefined {
    if (!OUTPUTS.has(this.type)) return undefined;
    return new Output({ ...this.content, output_type: this.type } as models.Output);
  }
}

/** The question of code that calls `input()`. */
export interface Prompt {
  /** The text of the question. */
  readonly text: string;
  /** True if the typed text must not be shown. */
  readonly password: boolean;
}
