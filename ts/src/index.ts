/**
 * cellhold runs code that an AI wrote in stateful Jupyter kernels, each in its own gVisor sandbox.
 *
 * ```ts
 * import { Session } from "cellhold";
 *
 * await using session = await Session.create();
 * console.log((await session.run("6 * 7")).result);
 * ```
 *
 * Times in arguments are in seconds, sizes in bytes.
 *
 * @module
 */

export type { Content, Progress } from "./body.js";
export { Cell, type Cells, type OnInput } from "./cell.js";
export { Client, type ClientOptions, type RunOnceOptions } from "./client.js";
export {
  Command,
  type CommandOptions,
  type Commands,
  type RunCommandOptions,
  type StartCommandOptions,
} from "./commands.js";
export {
  CellError,
  CellholdError,
  CommandError,
  ConflictError,
  DeniedError,
  type ErrorDetails,
  ExhaustedError,
  InternalError,
  InvalidError,
  NotFoundError,
  RunError,
  UnavailableError,
  UnsupportedError,
  WaitTimeout,
} from "./errors.js";
export { Event, type Prompt } from "./events.js";
export type { DownloadOptions, Files, UploadOptions, WriteOptions } from "./files.js";
export { Kernel, type Kernels } from "./kernels.js";
export type * as models from "./models.js";
export type { Checkpoints, Egress, Notebook, NotebookFormat, Packages } from "./nouns.js";
export type { AbortOption, EgressSetting, FiguresSetting, SecretsSetting } from "./options.js";
export { Failure, Figure, type FigureFormat, Output } from "./outputs.js";
export type { PortInit, Ports } from "./ports.js";
export { type BatchOptions, Run } from "./run.js";
export {
  type RunOptions,
  Session,
  type SessionOptions,
  type SessionSettings,
  type StreamOptions,
  type SubmitOptions,
} from "./session.js";
export { Stream } from "./stream.js";
export type { SandboxPath } from "./values.js";

/** The version of the package. */
export const VERSION = "0.1.0";
