/** The files of a session. */

import { bodyOf, type Content, fileSource, type Progress, piecesOf, type Source, sourceOf, webStream } from "./body.js";
import { ExhaustedError, InternalError, InvalidError, NotFoundError, UnavailableError } from "./errors.js";
import type { Link } from "./link.js";
import type * as models from "./models.js";
import { type Operation, op } from "./operations.js";
import type { AbortOption } from "./options.js";
import { SILENCE } from "./policy.js";
import { type FileHandle, node, sendsStreams } from "./runtime.js";
import { messages } from "./sse.js";
import { type Query, Raw } from "./transport.js";
import { baseName, decoded, escapedPath, listOf, parsed, type SandboxPath } from "./values.js";

/** Seconds for an upload in a browser, which does not tell its progress. */
const UPLOAD = 86_400;

/** Options of an upload. */
export interface UploadOptions extends AbortOption {
  /** Called with the bytes sent and the size. In browsers it is not called, because `fetch` does not tell it. */
  onProgress?: Progress;
}

/** Options of a written file. */
export interface WriteOptions extends UploadOptions {
  /** Permission bits, such as 0o755. Default: those of the existing file, or 0o644. */
  mode?: number;
}

/** Options of a download. */
export interface DownloadOptions extends AbortOption {
  /** Called with the bytes received and the size. */
  onProgress?: Progress;
}

/** The files of a session: `session.files`. Relative paths begin at its working directory, /workspace. */
export class Files {
  readonly #link: Link;

  /** Made by the package. */
  constructor(link: Link) {
    this.#link = link;
  }

  /** Returns the content of a file. Throws NotFoundError. */
  read(path: SandboxPath): Promise<Uint8Array> {
    return this.#link.send(op.downloadFile, { query: pathQuery(path) });
  }

  /** Returns the content of a file as text. Bytes that are not UTF-8 become U+FFFD. Throws NotFoundError. */
  async readText(path: SandboxPath): Promise<string> {
    return decoded(await this.read(path));
  }

  /** Returns the bytes of a file from start up to end, without end. Throws InvalidError beyond the end of the file. */
  readRange(path: SandboxPath, start: number, end?: number): Promise<Uint8Array> {
    const headers = { Range: `bytes=${start}-${end === undefined ? "" : end - 1}` };
    return this.#link.send(op.downloadFile, { query: pathQuery(path), headers });
  }

  /**
   * Returns the content of a file as a web stream. A cancelled stream ends the download. Throws NotFoundError; the stream
   * fails with UnavailableError if the connection breaks.
   */
  stream(path: SandboxPath, options: DownloadOptions = {}): Promise<ReadableStream<Uint8Array>> {
    return this.#opened(op.downloadFile, pathQuery(path), options);
  }

  /**
   * Writes a file completely or not at all, and creates missing folders. Returns its attributes.
   *
   * In Node, Deno and Bun a stream is sent as it comes. A browser collects it first.
   */
  write(path: SandboxPath, content: Content, options: WriteOptions = {}): Promise<models.FileInfo> {
    const mode = options.mode === undefined ? undefined : `0${options.mode.toString(8)}`;
    return this.#put(op.uploadFile, sourceOf(content), { ...pathQuery(path), mode }, options);
  }

  /**
   * Uploads a file of this machine. Without path it gets the same name in the working directory. Node, Deno and Bun only.
   *
   * Throws UnsupportedError in a browser: use `write` with a File there.
   */
  async upload(local: string, path?: SandboxPath, options: UploadOptions = {}): Promise<models.FileInfo> {
    const { fs } = await node("Files of this machine are read");
    const source = await fileSource(fs, local);
    return this.#put(op.uploadFile, source, pathQuery(path ?? baseName(local)), options);
  }

  /**
   * Downloads a file to this machine, completely or not at all, and returns its path there. Without local it gets the same
   * name in the current folder, and replaces no file: untrusted code can have chosen the name. Node, Deno and Bun only.
   *
   * Throws NotFoundError, an error with the code EEXIST, and UnsupportedError in a browser: use `stream` or `read` there.
   */
  async download(path: SandboxPath, local?: string, options: DownloadOptions = {}): Promise<string> {
    const { fs } = await node("Files are written to this machine");
    const target = local ?? localName(path);
    if (local === undefined) await (await fs.open(target, "wx")).close();
    try {
      return await this.#save(path, target, options);
    } catch (error) {
      if (local === undefined) await fs.rm(target, { force: true });
      throw error;
    }
  }

  /** Downloads a file, and replaces the target by it. */
  async #save(path: SandboxPath, target: string, options: DownloadOptions): Promise<string> {
    const { fs } = await node("Files are written to this machine");
    const content = await this.stream(path, options);
    const part = `${target}.part-${crypto.getRandomValues(new Uint32Array(1))[0]}`;
    const file = await fs.open(part, "wx");
    try {
      for await (const piece of piecesOf(content)) await writeAll(file, piece);
      await file.close();
      await fs.rename(part, target);
    } catch (error) {
      await file.close().catch(() => undefined);
      await fs.rm(part, { force: true });
      throw error;
    }
    return target;
  }

  /** Writes small files into one folder in one request. The names have no folders. Default: the working directory. */
  async writeMany(files: Record<string, string | Uint8Array | Blob>, folder?: SandboxPath): Promise<models.FileInfo[]> {
    const body = () => {
      const form = new FormData();
      for (const [name, content] of Object.entries(files)) form.append("file", new Blob([content as BlobPart]), name);
      return form;
    };
    const written = await this.#link.call<models.FilesWritten>(op.uploadFiles, { query: pathQuery(folder), body });
    return listOf(written.files);
  }

  /** Returns the attributes of a path. Links are not followed. Throws NotFoundError. */
  stat(path: SandboxPath): Promise<models.FileInfo> {
    return this.#link.call<models.FileInfo>(op.statFile, { query: pathQuery(path) });
  }

  /** Reports whether a path exists. */
  async exists(path: SandboxPath): Promise<boolean> {
    try {
      await this.stat(path);
      return true;
    } catch (error) {
      if (error instanceof NotFoundError) return false;
      throw error;
    }
  }

  /** Creates a folder and its missing parents. If it exists, nothing changes. */
  mkdir(path: SandboxPath): Promise<models.FileInfo> {
    return this.#link.call<models.FileInfo>(op.makeDirectory, { query: pathQuery(path) });
  }

  /** Moves a file or folder. If the target exists, replace must be true. Throws ConflictError. */
  move(source: SandboxPath, target: SandboxPath, options: { replace?: boolean } = {}): Promise<models.FileInfo> {
    const query = { from: raw(source), to: raw(target), replace: options.replace };
    return this.#link.call<models.FileInfo>(op.moveFile, { query });
  }

  /** Removes a file, a link or a folder. For a folder with content, recursive must be true. */
  async remove(path: SandboxPath, options: { recursive?: boolean } = {}): Promise<void> {
    await this.#link.send(op.removeFile, { query: { ...pathQuery(path), recursive: options.recursive } });
  }

  /**
   * Returns the entries of a folder, sorted by name: path, type, size in bytes, time and mode.
   *
   * Throws ExhaustedError if the folder has more than limit entries, because code can create entries without end.
   * Default: 100,000.
   */
  async list(path?: SandboxPath, options: { limit?: number } = {}): Promise<models.FileInfo[]> {
    const limit = options.limit ?? 100_000;
    const found: models.FileInfo[] = [];
    for (let after: SandboxPath | undefined; ; ) {
      const query = { ...pathQuery(path), after: after && raw(after) };
      const page = await this.#link.call<models.Directory>(op.listDirectory, { query });
      for (const entry of listOf(page.entries)) found.push(entry);
      if (found.length > limit) throw new ExhaustedError(`The folder has more than ${limit} entries.`);
      if (!page.next || listOf(page.entries).length === 0) return found;
      after = { escaped: page.next };
    }
  }

  /** Unpacks a tar, tgz or zip archive into a folder of the session, completely or not at all. */
  uploadArchive(archive: Content, path: SandboxPath, options: UploadOptions = {}): Promise<models.Unpacked> {
    return this.#put(op.uploadArchive, sourceOf(archive), pathQuery(path), options);
  }

  /**
   * Returns a folder as an archive: tar (the default), tgz or zip. Untrusted code chose the names in it: check them before
   * you unpack it.
   */
  downloadArchive(
    path: SandboxPath,
    options: { format?: "tar" | "tgz" | "zip" } & DownloadOptions = {},
  ): Promise<ReadableStream<Uint8Array>> {
    return this.#opened(op.downloadArchive, { ...pathQuery(path), format: options.format }, options);
  }

  /**
   * Yields the changes in a folder. The first element is undefined: all later changes are reported.
   *
   * The type of a change is created, modified, removed, or overflow, if changes were missed. Throws UnavailableError when the
   * server or the sandbox ends the watch.
   */
  async *watch(
    path?: SandboxPath,
    options: { recursive?: boolean } & AbortOption = {},
  ): AsyncGenerator<models.FileChange | undefined> {
    const query = { ...pathQuery(path), recursive: options.recursive };
    const answer = await this.#link.stream(op.watchDirectory, { query, signal: options.signal, silence: SILENCE });
    for await (const message of messages(answer.pieces())) {
      if (message.event === "ready") yield undefined;
      else if (message.event !== "bye") yield parsed<models.FileChange>(message.data);
    }
    throw new UnavailableError("The watch ended. Watch again and list the folder, because changes can be missing.");
  }

  /** Returns the files that code wrote to /mnt/data/output. The server keeps a copy of them. */
  async outputs(): Promise<models.OutputFile[]> {
    return listOf((await this.#link.call<models.FileList>(op.listFiles)).files);
  }

  /** Returns the content of a file of `outputs`. Throws NotFoundError. */
  readOutput(path: string | models.OutputFile): Promise<Uint8Array> {
    return this.#link.send(op.getFile, { parts: [typeof path === "string" ? path : path.path] });
  }

  /** Uploads a body. A request is repeated only if nothing was sent. */
  #put<T>(operation: Operation, source: Source, query: Query, options: UploadOptions): Promise<T> {
    return this.#link.call<T>(operation, {
      query,
      body: (sent) =>
        bodyOf(source, (bytes, total) => {
          sent();
          options.onProgress?.(bytes, total);
        }),
      silence: sendsStreams() ? undefined : UPLOAD,
      headers: { "Content-Type": "application/octet-stream" },
      once: source.single,
      signal: options.signal,
    });
  }

  async #opened(operation: Operation, query: Query, options: DownloadOptions): Promise<ReadableStream<Uint8Array>> {
    const { onProgress, signal } = options;
    const answer = await this.#link.stream(operation, { query, signal });
    const length = answer.response.headers.get("Content-Length");
    const total = length && /^\d+$/.test(length) ? Number(length) : undefined;
    return webStream(counted(answer.pieces(), total, onProgress));
  }
}

/** Yields pieces. Throws InternalError if their size is not the announced one. */
async function* counted(
  pieces: AsyncIterable<Uint8Array>,
  total: number | undefined,
  onProgress: Progress | undefined,
): AsyncGenerator<Uint8Array> {
  let received = 0;
  for await (const piece of pieces) {
    received += piece.byteLength;
    yield piece;
    onProgress?.(received, total);
  }
  if (total !== undefined && received < total) {
    throw new InternalError(`The server sent ${received} of ${total} bytes.`);
  }
}

/** Returns the name of a file on this machine. Untrusted code chose it: it must not lead to another folder. */
function localName(path: SandboxPath): string {
  const text = path instanceof Uint8Array ? decoded(path) : typeof path === "string" ? path : (path.path ?? "");
  const name = baseName(text);
  if (["", ".", ".."].includes(name) || /[\\:\0]/.test(name)) {
    throw new InvalidError("The path has no name that every machine accepts: give a path on this machine.");
  }
  return name;
}

async function writeAll(file: FileHandle, piece: Uint8Array): Promise<void> {
  for (let at = 0; at < piece.length; ) at += (await file.write(piece.subarray(at))).bytesWritten;
}

function raw(path: SandboxPath): Raw {
  return new Raw(escapedPath(path));
}

function pathQuery(path: SandboxPath | undefined): Query {
  return path === undefined ? {} : { path: raw(path) };
}
