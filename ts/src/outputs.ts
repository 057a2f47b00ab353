/**
 * Outputs of code: text, figures and failures. Untrusted code makes these values: show them as text and as images only.
 */

import { InvalidError } from "./errors.js";
import type * as models from "./models.js";
import { node } from "./runtime.js";
import { fromBase64, listOf, objectOf, plain, textOf } from "./values.js";

/** A format of figures. */
export type FigureFormat = "png" | "jpeg" | "svg" | "pdf";

const FORMATS: readonly FigureFormat[] = ["png", "jpeg", "svg", "pdf"];

const TYPES: Record<FigureFormat, string> = {
  png: "image/png",
  jpeg: "image/jpeg",
  svg: "image/svg+xml",
  pdf: "application/pdf",
};

const SUFFIXES: Record<string, FigureFormat> = { jpg: "jpeg", jpeg: "jpeg", png: "png", svg: "svg", pdf: "pdf" };

/** A figure that code has shown, in one or more formats. */
export class Figure {
  readonly #data: Record<string, unknown>;

  /** Made by the package. */
  constructor(data: Record<string, unknown>) {
    this.#data = data;
  }

  /** The formats of the figure. */
  get formats(): FigureFormat[] {
    return FORMATS.filter((format) => this.#bytes(format) !== undefined);
  }

  /** The figure as PNG. Throws InvalidError if the figure has no PNG. */
  get png(): Uint8Array {
    return this.read("png");
  }

  /** The figure as JPEG. Throws InvalidError if the figure has no JPEG. */
  get jpeg(): Uint8Array {
    return this.read("jpeg");
  }

  /** The figure as PDF. Throws InvalidError if the figure has no PDF. */
  get pdf(): Uint8Array {
    return this.read("pdf");
  }

  /** The figure as SVG, which can have scripts. Throws InvalidError if the figure has no SVG. */
  get svg(): string {
    return new TextDecoder().decode(this.read("svg"));
  }

  /** The text that the code gave for the figure. */
  get text(): string {
    return plain(textOf(this.#data["text/plain"]));
  }

  /** Returns the bytes of a format. Throws InvalidError if the figure does not have it. */
  read(format: FigureFormat): Uint8Array {
    const found = this.#bytes(format);
    if (found) return found;
    throw new InvalidError(
      `The figure has no ${format}, only ${this.formats.join(", ")}; choose formats with figures before the cell runs.`,
    );
  }

  /**
   * Returns the figure as a Blob, such as for `URL.createObjectURL` and an `img` element. An `img` runs no scripts.
   * Throws InvalidError if the figure does not have the format. Default: its first one.
   */
  blob(format: FigureFormat = this.formats[0] ?? "png"): Blob {
    return new Blob([this.read(format) as Uint8Array<ArrayBuffer>], { type: TYPES[format] });
  }

  /**
   * Writes the figure to a file of this machine, in the format of the file's suffix. Node, Deno and Bun only.
   *
   * Throws InvalidError for an unknown suffix or a missing format, and UnsupportedError in a browser.
   */
  async save(path: string): Promise<void> {
    const format = SUFFIXES[path.slice(path.lastIndexOf(".") + 1).toLowerCase()];
    if (!format) {
      throw new InvalidError(`The suffix of ${path} is no format of figures; use .png, .jpg, .svg or .pdf.`);
    }
    const content = this.read(format);
    await (await node("Figures are saved to files")).fs.writeFile(path, content);
  }

  #bytes(format: FigureFormat): Uint8Array | undefined {
    const value = this.#data[TYPES[format]];
    if (format === "svg") return value === undefined ? undefined : new TextEncoder().encode(textOf(value));
    return fromBase64(typeof value === "string" ? value.replace(/\s+/g, "") : undefined);
  }
}

/** Why code failed. `String(failure)` is the traceback as text, for a person or a model. */
export class Failure {
  /** Class of the exception, or the status of the cell, such as "timeout". */
  readonly name: string;
  /** Text of the exception, or one sentence that explains the status. */
  readonly value: string;
  /** Traceback without colours. If there is none, the name and the value. */
  readonly traceback: string;

  /** Made by the package. */
  constructor(name: string, value: string, traceback: string) {
    this.name = name;
    this.value = value;
    this.traceback = traceback;
  }

  /** Returns the traceback. */
  toString(): string {
    return this.traceback;
  }
}

/** Returns the failure of an exception, from the fields of Jupyter's error. */
export function failureOf(raised: { ename?: string; evalue?: string; traceback?: string[] }): Failure {
  const name = plain(textOf(raised.ename));
  const value = plain(textOf(raised.evalue));
  return new Failure(name, value, plain(listOf(raised.traceback).map(textOf).join("\n")) || `${name}: ${value}`);
}

/** One output of a cell: printed text, a result, a display or an exception. */
export class Output {
  /** The output in notebook form. */
  readonly data: models.Output;

  /** Made by the package. */
  constructor(data: models.Output) {
    this.data = data;
  }

  /** The type of the output. */
  get type(): models.Output["output_type"] {
    return this.data.output_type;
  }

  /** stdout or stderr for a stream, otherwise "". */
  get name(): string {
    return textOf(this.data.name);
  }

  /** The output as text: what was printed, the text form of a value, or the traceback without colours. */
  get text(): string {
    if (this.type === "stream") return textOf(this.data.text);
    if (this.type === "error") return String(this.error);
    return textOf(this.mime["text/plain"]);
  }

  /** The forms of a result or display by MIME type. HTML and JavaScript of untrusted code are among them. */
  get mime(): Record<string, unknown> {
    return objectOf(this.data.data);
  }

  /** The figure, if the output is an image. */
  get figure(): Figure | undefined {
    const found = new Figure(this.mime);
    return found.formats.length > 0 ? found : undefined;
  }

  /** The exception, if the output is one. */
  get error(): Failure | undefined {
    return this.type === "error" ? failureOf(this.data) : undefined;
  }
}

/** Returns the outputs of a list. */
export function outputsOf(list: readonly models.Output[] | undefined): Output[] {
  return listOf(list).map((output) => new Output(output));
}

/** Returns the value of the last expression as text. */
export function resultOf(outputs: Output[]): string | undefined {
  return outputs.filter((output) => output.type === "execute_result").at(-1)?.text;
}

/** Returns the figures of outputs, in order. */
export function figuresOf(outputs: Output[]): Figure[] {
  return outputs.flatMap((output) => output.figure ?? []);
}

/** Returns the text of one stream. */
export function streamed(outputs: Output[], name: string): string {
  return outputs
    .filter((output) => output.type === "stream" && output.name === name)
    .map((output) => output.text)
    .join("");
}

/** Returns the text of all outputs without exceptions, each value on lines of its own. */
export function shown(outputs: Output[]): string {
  let text = "";
  for (const output of outputs) {
    if (output.type === "stream") {
      text += output.text;
    } else if (output.type !== "error" && output.text) {
      if (text && !text.endsWith("\n")) text += "\n";
      text += `${output.text}\n`;
    }
  }
  return text;
}
