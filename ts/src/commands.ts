/** The commands of a session: programs in its sandbox, outside the kernels. */

import { CommandError, ConflictError, ExhaustedError, UnavailableError, WaitTimeout } from "./errors.js";
import { Event } from "./events.js";
import type { Link } from "./link.js";
import type * as models from "./models.js";
import { op } from "./operations.js";
import type { AbortOption } from "./options.js";
import { Backoff, Deadline, waiting } from "./policy.js";
import { clock } from "./runtime.js";
import { decoded, fromBase64, listOf, textOf } from "./values.js";

/** Maximum bytes of one request with input. */
const PIECE = 256 << 10;

/** Options of a command. */
export interface CommandOptions {
  /** Working directory. Default: that of the session. */
  cwd?: string;
  /** Variables to add to the environment. */
  env?: Record<string, string>;
  /** Seconds after which the command is ended. */
  timeout?: number;
}

/** Options of a command that the call waits for. */
export interface RunCommandOptions extends CommandOptions, AbortOption {
  /** Standard input. Without it, the input is empty. */
  input?: string | Uint8Array;
  /** Seconds after which the call throws WaitTimeout. The command continues. */
  wait?: number;
  /** Called with each piece of text on standard output. */
  onStdout?: (text: string) => void;
  /** Called with each piece of text on standard error. */
  onStderr?: (text: string) => void;
  /** Throw CommandError if the exit status is not 0. Default: as for the session. */
  throwOnError?: boolean;
}

/** Options of a command that continues to run. */
export interface StartCommandOptions extends CommandOptions {
  /** Lines and characters of a terminal for the command. All its output is then in stdout. */
  terminal?: { rows: number; cols: number };
  /** Your label of the command. */
  tag?: string;
}

/** One command, which runs or has ended. */
export class Command {
  /** The command as the server sent it last. */
  data: models.Command;
  readonly #link: Link;
  /** Bytes of input that the server accepted; -1: not known. */
  #offset = -1;

  /** Made by the package. */
  constructor(link: Link, data: models.Command) {
    this.#link = link;
    this.data = data;
  }

  /** Id of the command, unique within its session. */
  get id(): string {
    return this.data.id;
  }

  /** State of the command. */
  get state(): models.Command["state"] {
    return this.data.state;
  }

  /** True if the command has ended. */
  get done(): boolean {
    return this.data.state === "done";
  }

  /** Result of a done command: ok, exit, signal, timeout, oom or lost. */
  get status(): models.Command["status"] {
    return this.data.status;
  }

  /** True if the exit status is 0. */
  get ok(): boolean {
    return this.data.status === "ok";
  }

  /** Exit status, or 128 plus the number of a signal. Undefined if the command is not done. */
  get exitCode(): number | undefined {
    return this.done ? this.data.exit_code : undefined;
  }

  /** How the command ended, in some words. */
  get ending(): string {
    if (this.data.status === "exit") return `exit status ${this.data.exit_code}`;
    if (this.data.status === "signal") return `the signal ${textOf(this.data.signal)}`;
    return textOf(this.data.cause) || (this.data.status ?? this.data.state);
  }

  /** Standard output, or the output of the terminal. Above 128 KiB, a note is in place of its middle. */
  get stdout(): string {
    return outputText(this.data.stdout);
  }

  /** Standard error. Above 128 KiB, a note is in place of its middle. */
  get stderr(): string {
    return outputText(this.data.stderr);
  }

  /**
   * Waits until the command is done, and returns it. timeout is in seconds and does not end the command.
   *
   * Throws WaitTimeout if the time ends first.
   */
  async wait(options: { timeout?: number } & AbortOption = {}): Promise<this> {
    return this.until(new Deadline(options.timeout), options.signal);
  }

  /** @internal */
  async until(deadline: Deadline, signal?: AbortSignal): Promise<this> {
    while (!this.done) {
      if (deadline.over) {
        throw new WaitTimeout(`The command ${this.id} is not done after ${deadline.seconds} s. It continues.`, this);
      }
      await this.#get(deadline.poll(), signal);
    }
    return this;
  }

  /** Reads the command again, with its output so far, and returns it. */
  async refresh(): Promise<this> {
    await this.#get();
    return this;
  }

  async #get(wait?: number, signal?: AbortSignal): Promise<void> {
    const request = { parts: [this.id], query: { wait: waiting(wait) }, wait, signal };
    this.data = await this.#link.call<models.Command>(op.getCommand, request);
  }

  /**
   * Yields the events of the command with numbers above after, live, until it is done.
   *
   * `event.text` and `event.bytes` have the output. A broken connection is replaced without loss.
   */
  events(options: { after?: number } & AbortOption = {}): AsyncGenerator<Event> {
    const request = { parts: [this.id], signal: options.signal };
    return this.#link.watch(op.readCommandEvents, request, options.after ?? 0, "command_done");
  }

  /**
   * Writes to the standard input or the terminal. Each byte arrives once, also after a lost connection.
   *
   * It waits while the command does not read. Throws ConflictError if the command closed its input or is done.
   */
  async write(data: string | Uint8Array): Promise<void> {
    const content = typeof data === "string" ? new TextEncoder().encode(data) : data;
    for (let at = 0; at < content.length; at += PIECE) await this.#write(content.subarray(at, at + PIECE), false);
  }

  /** Closes the standard input. At a terminal, this sends Ctrl-D. Nothing happens if it is closed already. */
  async closeInput(): Promise<void> {
    await this.#write(new Uint8Array(), true).catch(ignoreConflict);
  }

  async #write(piece: Uint8Array, eof: boolean): Promise<void> {
    if (this.#offset < 0) this.#offset = await this.#take(new Uint8Array(), -1, false);
    const backoff = new Backoff(this.#link.transport.patience);
    while (true) {
      try {
        this.#offset = await this.#take(piece, this.#offset, eof);
        return;
      } catch (error) {
        if (error instanceof ExhaustedError) {
          backoff.progress(); // the server has waited, and the command does not read yet
          continue;
        }
        const pause = error instanceof UnavailableError ? backoff.next() : undefined;
        if (pause === undefined) throw error;
        await clock.sleep(pause); // the server skips the bytes that it has
      }
    }
  }

  async #take(piece: Uint8Array, offset: number, eof: boolean): Promise<number> {
    const taken = await this.#link.call<models.InputTaken>(op.writeCommandInput, {
      parts: [this.id],
      query: { offset, eof },
      body: () => piece as Uint8Array<ArrayBuffer>,
      headers: { "Content-Type": "application/octet-stream" },
    });
    return taken.offset;
  }

  /** Sets the size of the terminal, in lines and characters. */
  async resize(rows: number, cols: number): Promise<void> {
    const json: models.Terminal = { rows, cols };
    await this.#link.send(op.resizeCommand, { parts: [this.id], json });
  }

  /** Sends a signal to the process group of the command: a name, with or without SIG, or a number. Default: TERM. */
  async signal(signal: string | number = "TERM"): Promise<void> {
    const json: models.SendSignal = { signal: String(signal) };
    await this.#link.send(op.signalCommand, { parts: [this.id], json });
  }

  /** Kills the command and all processes that it started, and returns when they have ended. */
  async kill(): Promise<void> {
    await this.#link.send(op.endCommand, { parts: [this.id] });
  }
}

/** The commands of a session: `session.commands`. */
export class Commands {
  readonly #link: Link;
  readonly #throws: boolean;

  /** Made by the package. */
  constructor(link: Link, throws: boolean) {
    this.#link = link;
    this.#throws = throws;
  }

  /**
   * Runs a command, and returns it when it is done. A failing command has another exit code than 0.
   *
   * command is a line for the shell, or a program with its arguments. Throws CommandError and WaitTimeout. The command is
   * never started twice: if the connection breaks at its start, the call throws UnavailableError.
   */
  async run(command: string | readonly string[], options: RunCommandOptions = {}): Promise<Command> {
    const { input, signal, onStdout, onStderr, throwOnError = this.#throws } = options;
    const deadline = new Deadline(options.wait);
    const started = await this.#start(command, { ...options, no_input: input === undefined || undefined });
    if (input !== undefined) {
      await started.write(input).catch(ignoreConflict); // the command reads no more
      await started.closeInput();
    }
    if (onStdout || onStderr) await this.#follow(started, deadline, { stdout: onStdout, stderr: onStderr }, signal);
    await started.until(deadline, signal);
    if (throwOnError && !started.ok) throw new CommandError(started);
    return started;
  }

  /**
   * Starts a command, and returns it at once. Its input stays open until `closeInput`.
   *
   * command is a line for the shell, or a program with its arguments.
   */
  start(command: string | readonly string[], options: StartCommandOptions = {}): Promise<Command> {
    return this.#start(command, { ...options, tty: options.terminal });
  }

  /** Returns all commands of the session, oldest first. */
  async list(): Promise<Command[]> {
    const { commands } = await this.#link.call<models.CommandList>(op.listCommands);
    return listOf(commands).map((data) => new Command(this.#link, data));
  }

  /** Returns a command by its id. Throws NotFoundError. */
  async get(id: string): Promise<Command> {
    return new Command(this.#link, await this.#link.call<models.Command>(op.getCommand, { parts: [id] }));
  }

  async #start(command: string | readonly string[], options: models.StartCommand): Promise<Command> {
    const { cwd, env, timeout, tag, tty, no_input } = options;
    const line = typeof command === "string" ? { command } : { args: [...command] };
    const json: models.StartCommand = { ...line, cwd, env, timeout, tag, tty, no_input };
    return new Command(this.#link, await this.#link.call<models.Command>(op.startCommand, { json }));
  }

  /** Calls the callbacks until the command is done or the time to wait is over. */
  async #follow(
    command: Command,
    deadline: Deadline,
    callbacks: Record<string, ((text: string) => void) | undefined>,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    let after = command.data.first - 1;
    for (let running = true; running && !deadline.over; ) {
      const wait = deadline.poll();
      const request = { parts: [command.id], query: { after, wait: waiting(wait) }, wait, signal };
      const page = await this.#link.call<models.EventPage>(op.readCommandEvents, request);
      after = page.next;
      for (const event of listOf(page.events).map((data) => new Event(data))) {
        callbacks[event.name]?.(event.text);
        if (event.type === "command_done") running = false;
      }
    }
  }
}

/** Returns the text of an output. If bytes are omitted, a note is in their place. */
export function outputText(output: models.CommandOutput | undefined): string {
  const coded = output?.encoding === "base64";
  const [head, tail] = [textOf(output?.text), textOf(output?.tail)].map((part) =>
    coded ? decoded(fromBase64(part) ?? new Uint8Array()) : part,
  );
  return `${head}${output?.omitted ? `\n[${output.omitted} bytes omitted]\n` : ""}${tail}`;
}

function ignoreConflict(error: unknown): void {
  if (!(error instanceof ConflictError)) throw error;
}
