/** Values that come from a server, and thus in part from untrusted code: each is checked before its use. */

import { InternalError, InvalidError } from "./errors.js";

/** A path in the sandbox: a text, its bytes, or an entry that the server listed. */
export type SandboxPath = string | Uint8Array | { readonly path?: string; readonly escaped?: string };

/** Returns a text, or "" for another value. Jupyter also writes a text as a list of lines. */
export function textOf(value: unknown): string {
  if (typeof value === "string") return value;
  return Array.isArray(value) ? value.map((part) => (typeof part === "string" ? part : "")).join("") : "";
}

/** Returns an object, or an empty one for another value. */
export function objectOf(value: unknown): Record<string, unknown> {
  return value !== null && typeof value === "object" && !Array.isArray(value) ? (value as Record<string, unknown>) : {};
}

/** Returns a list, or an empty one if it is absent. */
export function listOf<T>(value: readonly T[] | undefined | null): T[] {
  return Array.isArray(value) ? [...value] : [];
}

/** Returns the object in a JSON text of the server. */
export function parsed<T>(text: string): T {
  let found: unknown;
  try {
    found = JSON.parse(text);
  } catch (cause) {
    throw new InternalError("The server sent an answer that is not valid JSON.", { cause });
  }
  if (found === null || typeof found !== "object" || Array.isArray(found)) {
    throw new InternalError("The server sent an answer that is no JSON object.");
  }
  return found as T;
}

/** Returns the bytes of a base64 text, or undefined if it is none. */
export function fromBase64(text: unknown): Uint8Array | undefined {
  if (typeof text !== "string") return undefined;
  try {
    return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  } catch {
    return undefined;
  }
}

/** Returns the base64 text of bytes. */
export function toBase64(bytes: Uint8Array): string {
  const parts: string[] = [];
  for (let at = 0; at < bytes.length; at += 8192) {
    parts.push(String.fromCharCode(...bytes.subarray(at, at + 8192)));
  }
  return btoa(parts.join(""));
}

/** Returns the text of UTF-8 bytes. Other bytes become U+FFFD. */
export function decoded(bytes: Uint8Array): string {
  return new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes);
}

/** Returns a new random key. Pages without TLS have no crypto.randomUUID. */
export function randomKey(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Returns the percent-encoded form of a path. Bytes that are not UTF-8 are kept. */
export function escapedPath(path: SandboxPath): string {
  if (typeof path === "string") return encoded(path);
  if (path instanceof Uint8Array) {
    return Array.from(path, (byte) => `%${byte.toString(16).padStart(2, "0")}`).join("");
  }
  return path.escaped ? escapedAgain(path.escaped) : encoded(path.path ?? "");
}

/** Encodes what the server left as it is in a percent-encoded name, such as "/" and "&". */
function escapedAgain(name: string): string {
  return encoded(name).replace(/%25([0-9A-Fa-f]{2})/g, "%$1");
}

/** Encodes a text for a part of a URL. */
export function encoded(text: string): string {
  try {
    return encodeURIComponent(text);
  } catch (cause) {
    throw new InvalidError("A text of the request has half of a surrogate pair: it cannot be sent.", { cause });
  }
}

const ESCAPES =
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are the characters to remove
  /\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\^_])|[\x00-\x08\x0b-\x1f\x7f-\x9f]/g;

/** Returns a text without colours and other control characters. Tabs and line breaks stay. */
export function plain(text: string): string {
  return text.replaceAll("\r\n", "\n").replace(ESCAPES, "");
}

/** Returns the last part of a path. */
export function baseName(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1);
}
