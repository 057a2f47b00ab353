/**
 * Starts a private server from the program `cellhold`, and ends it with this process.
 *
 * The server listens on a free port of this machine and has a new token, which is in no file. It reads a pipe whose only
 * writer is this process. So it also ends when this process is killed.
 */

import type { Place } from "./connect.js";
import { UnavailableError } from "./errors.js";
import { type Child, node } from "./runtime.js";
import { decoded } from "./values.js";

/** Maximum bytes that are kept of what a server prints before it is ready. */
const MAX_PRINTED = 1 << 16;

interface Server {
  readonly child: Child;
  readonly place: Place;
}

const servers = new Map<string, Promise<Server>>();

/**
 * Returns the place of this process's private server, which starts at the first call.
 *
 * Throws UnavailableError if there is no program, or the server does not start, and UnsupportedError in a browser.
 */
export async function startPrivate(binary = "cellhold"): Promise<Place> {
  const known = servers.get(binary);
  if (!known) {
    const starting = started(binary);
    servers.set(binary, starting);
    return (await starting).place;
  }
  const server = await known.catch(() => undefined);
  if (server && server.child.exitCode === null && server.child.signalCode === null) return server.place;
  if (servers.get(binary) === known) servers.delete(binary);
  return startPrivate(binary);
}

async function started(binary: string): Promise<Server> {
  const { spawn } = await node("Private servers start");
  // In a session of its own, the server does not get the Ctrl-C of a terminal, which ends only this process.
  const child = spawn(binary, ["serve", "--private", "--max-egress", "public"], { stdio: "pipe", detached: true });
  let log = "";
  child.stderr.on("data", (piece) => {
    log = (log + decoded(piece)).slice(-2000);
  });
  child.stdin.on("error", () => undefined);
  const line = await firstLine(child, binary);
  const place = placeOf(line);
  if (!place) {
    child.stdin.destroy();
    throw new UnavailableError(`The private server did not start: ${log.trim() || "it printed no reason."}`);
  }
  // The process can end although the server runs.
  for (const held of [child, child.stdin, child.stderr]) held.unref?.();
  child.stdout.destroy();
  return { child, place };
}

/** Returns the first line that a program prints, or "" if it ends before. */
function firstLine(child: Child, binary: string): Promise<string> {
  return new Promise((resolve, reject) => {
    let printed = "";
    child.on("error", (error) => {
      const reason = error instanceof Error ? error.message : String(error);
      reject(new UnavailableError(`The program ${binary} cannot start: ${reason}. Install it, or give binary.`));
    });
    child.on("close", () => resolve(""));
    child.stdout.on("data", (piece) => {
      printed += decoded(piece);
      const end = printed.indexOf("\n");
      if (end >= 0) resolve(printed.slice(0, end));
      else if (printed.length > MAX_PRINTED) resolve("");
    });
  });
}

/** Returns the place in the line with which a server says that it is ready. */
function placeOf(line: string): Place | undefined {
  try {
    const { url, token } = JSON.parse(line);
    return typeof url === "string" && typeof token === "string" ? { url, token } : undefined;
  } catch {
    return undefined;
  }
}
