/** What differs between JavaScript runtimes: time, environment, and the modules of Node, which Deno and Bun have too. */

import { UnsupportedError } from "./errors.js";

/** The clock of retries and deadlines, in seconds. Tests replace it. */
export const clock = {
  /** Returns a time that never goes back. */
  now(): number {
    return performance.now() / 1000;
  },

  /** Waits. Throws the reason of the signal if it aborts. */
  sleep(seconds: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const aborted = () => {
        clearTimeout(timer);
        reject(signal?.reason);
      };
      const timer = setTimeout(() => {
        signal?.removeEventListener("abort", aborted);
        resolve();
      }, seconds * 1000);
      if (signal?.aborted) aborted();
      else signal?.addEventListener("abort", aborted, { once: true });
    });
  },
};

interface Process {
  readonly env?: Record<string, string | undefined>;
  readonly versions?: { readonly node?: string };
  readonly pid?: number;
  getuid?(): number;
}

/** The process, or undefined in a browser. */
export function currentProcess(): Process | undefined {
  const found = (globalThis as { process?: Process }).process;
  return found?.versions?.node ? found : undefined;
}

/** Returns a variable of the environment, or "". Deno can refuse to read it. */
export function variable(name: string): string {
  try {
    return currentProcess()?.env?.[name] ?? "";
  } catch {
    return "";
  }
}

/** Reports whether the body of a request can be a stream. Browsers need HTTP/2 for it, or cannot do it. */
export function sendsStreams(): boolean {
  return currentProcess() !== undefined;
}

/** The part of `node:fs/promises` that the package uses. */
export interface FileModule {
  writeFile(path: string, content: Uint8Array | string): Promise<void>;
  readFile(path: string): Promise<Uint8Array>;
  stat(path: string): Promise<{ size: number; isFile(): boolean }>;
  open(path: string, flags: string): Promise<FileHandle>;
  rename(from: string, to: string): Promise<void>;
  rm(path: string, options: { force: boolean }): Promise<void>;
}

/** The part of an open file that the package uses. */
export interface FileHandle {
  read(buffer: Uint8Array, offset: number, length: number, position: null): Promise<{ bytesRead: number }>;
  write(buffer: Uint8Array): Promise<{ bytesWritten: number }>;
  close(): Promise<void>;
}

/** A stream of a child process. */
export interface ChildStream {
  on(event: string, listener: (data: Uint8Array) => void): void;
  destroy(): void;
  unref?(): void;
}

/** A child process. */
export interface Child {
  readonly stdin: ChildStream;
  readonly stdout: ChildStream;
  readonly stderr: ChildStream;
  readonly exitCode: number | null;
  readonly signalCode: string | null;
  on(event: string, listener: (value: unknown) => void): void;
  unref(): void;
}

/** The modules of Node that the package uses. */
export interface NodeModules {
  readonly fs: FileModule;
  readonly home: string;
  spawn(program: string, args: string[], options: Record<string, unknown>): Child;
}

/**
 * Returns the modules of Node. They are imported here, at their first use, so that browsers load the package.
 *
 * Throws UnsupportedError in a browser. what is the sentence's beginning, such as "Figures are saved to files".
 */
export async function node(what: string): Promise<NodeModules> {
  if (!currentProcess()) throw new UnsupportedError(`${what} in Node, Deno and Bun, but not in a browser.`);
  const fs = await builtin<FileModule>("fs/promises");
  const os = await builtin<{ homedir(): string }>("os");
  const { spawn } = await builtin<{ spawn: NodeModules["spawn"] }>("child_process");
  return { fs, home: os.homedir(), spawn };
}

/** Imports a module of Node. Bundlers must not look for it. */
async function builtin<T>(name: string): Promise<T> {
  const specifier = `node:${name}`;
  return (await import(/* webpackIgnore: true */ /* @vite-ignore */ specifier)) as T;
}
