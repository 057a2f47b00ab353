/** Finds the server: arguments, environment, a server on this machine, or a private one. */

import { InvalidError, UnavailableError } from "./errors.js";
import { startPrivate } from "./private.js";
import { currentProcess, node, variable } from "./runtime.js";

/** The address of a server with default settings. */
export const DEFAULT_URL = "http://127.0.0.1:5002";

/** Maximum bytes of a token file. */
const MAX_TOKENS = 1 << 20;

const LOOPBACK = new Set(["127.0.0.1", "[::1]", "localhost"]);

/** Where a server is, and the token for it. */
export interface Place {
  readonly url: string;
  readonly token: string;
}

/** How to find a server. */
export interface ServerOptions {
  /** URL of the server. Without it: CELLHOLD_URL, then a server on this machine, then a private server. */
  url?: string;
  /** Token for the server. Without it: CELLHOLD_TOKEN, then the token that this user can read. */
  token?: string;
  /** Use a private server, which starts from the program cellhold and ends with this process. Not in browsers. */
  local?: boolean;
  /** Path of the program cellhold. Default: the one on the path. */
  binary?: string;
}

/**
 * Returns the place of the server: the first that exists of the arguments; CELLHOLD_URL and CELLHOLD_TOKEN; a server on this
 * machine whose token this user can read; a private server, which ends with this process.
 *
 * Throws InvalidError for an invalid URL or token, and UnavailableError if no server is found or can start.
 */
export async function findServer(options: ServerOptions, fetcher: typeof fetch): Promise<Place> {
  if (options.local) {
    if (options.url || options.token) {
      throw new InvalidError("local starts a private server and takes no url and no token.");
    }
    return startPrivate(options.binary);
  }
  const token = options.token || variable("CELLHOLD_TOKEN");
  const url = options.url || variable("CELLHOLD_URL");
  if (url) return checked({ url, token: token || (onLoopback(url) ? await readableToken() : "") });
  if (!currentProcess()) throw new UnavailableError("No server is found. A page in a browser must give url and token.");
  const here = await onThisMachine(token, fetcher);
  if (here) return here;
  try {
    return await startPrivate(options.binary);
  } catch (cause) {
    if (!(cause instanceof UnavailableError)) throw cause;
    throw new UnavailableError(
      "No server is found. Give url and token, or set CELLHOLD_URL and CELLHOLD_TOKEN, " +
        `or start one with cellhold serve. A private server does not start: ${cause.detail}`,
      { cause },
    );
  }
}

/** Returns a place whose URL and token can be used. Throws InvalidError. */
export function checked(place: Place): Place {
  const url = URL.canParse(place.url) ? new URL(place.url) : undefined;
  const extra = url && (url.username || url.password || url.search || url.hash);
  if (!url || !["http:", "https:"].includes(url.protocol) || extra) {
    throw new InvalidError(`Invalid server URL ${place.url}: use a URL such as ${DEFAULT_URL}.`);
  }
  if (!/^[\x21-\x7e]*$/.test(place.token)) {
    throw new InvalidError("The token has a space or a line break. Use only the token, without its name.");
  }
  return { ...place, url: url.href.replace(/\/+$/, "") };
}

function onLoopback(url: string): boolean {
  return URL.canParse(url) && LOOPBACK.has(new URL(url).hostname);
}

/** Returns the server at the default address, if it accepts the token or one that this user can read. */
async function onThisMachine(given: string, fetcher: typeof fetch): Promise<Place | undefined> {
  const token = given || (await readableToken());
  if (!token) return undefined;
  const place = checked({ url: DEFAULT_URL, token });
  try {
    const answer = await fetcher(`${place.url}/v1/version`, {
      headers: { Authorization: `Bearer ${token}` },
      redirect: "manual",
      signal: AbortSignal.timeout(2000),
    });
    const found: unknown = await answer.json();
    return answer.status === 200 && found instanceof Object && "api" in found ? place : undefined;
  } catch {
    return undefined;
  }
}

/** Returns the first token in a home that this user can read, or "". */
async function readableToken(): Promise<string> {
  if (!currentProcess()) return "";
  const { fs, home } = await node("Tokens are read");
  for (const folder of homes(variable, currentProcess()?.getuid?.() ?? 1, home)) {
    try {
      const file = await fs.stat(`${folder}/token`);
      if (!file.isFile() || file.size > MAX_TOKENS) continue;
      const lines = new TextDecoder().decode(await fs.readFile(`${folder}/token`)).split("\n");
      const words = lines.filter((line) => !line.startsWith("#")).map((line) => line.trim().split(/\s+/));
      const token = words.find((found) => found.length === 2)?.[1];
      if (token) return token;
    } catch {
      // The next home can have a token that this user can read.
    }
  }
  return "";
}

/** Returns the folders in which a server of this machine keeps its token, as the command line finds them. */
export function homes(get: (name: string) => string, uid: number, home: string): string[] {
  const own = get("CELLHOLD_HOME");
  if (own) return [own];
  const system = "/var/lib/cellhold";
  if (uid === 0) return [system];
  const state = get("XDG_STATE_HOME");
  return [`${state.startsWith("/") ? state : `${home}/.local/state`}/cellhold`, system];
}
