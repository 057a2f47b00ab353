/** Bodies of uploads: their bytes, their size, and whether they can be sent again. */

import { InvalidError } from "./errors.js";
import { type FileModule, sendsStreams } from "./runtime.js";

/** Bytes of one piece of an upload. */
const PIECE = 1 << 20;

/** The content of an upload. A stream is read once, so its request is never repeated. */
export type Content = string | Uint8Array | ArrayBuffer | Blob | ReadableStream<Uint8Array> | AsyncIterable<Uint8Array>;

/** Called with the bytes so far, and the size in bytes if it is known. */
export type Progress = (bytes: number, total: number | undefined) => void;

/** The content of an upload. */
export interface Source {
  /** Size in bytes, if it is known. */
  readonly size?: number;
  /** True if `open` can be called once. */
  readonly single: boolean;
  /** Returns the content from its beginning. */
  open(): Blob | AsyncIterable<Uint8Array>;
}

/** Returns the source of a content. */
export function sourceOf(content: Content): Source {
  if (typeof content === "string" || content instanceof Uint8Array || content instanceof ArrayBuffer) {
    return sourceOf(new Blob([content as BlobPart]));
  }
  if (content instanceof Blob) return { size: content.size, single: false, open: () => content };
  if (content instanceof ReadableStream) return { single: true, open: () => piecesOf(content) };
  if (content && Symbol.asyncIterator in content) return { single: true, open: () => content };
  throw new InvalidError("The content is no text, bytes, Blob or stream.");
}

/** Returns the source of a file of this machine. */
export async function fileSource(fs: FileModule, path: string): Promise<Source> {
  const { size } = await fs.stat(path);
  return { size, single: false, open: () => filePieces(fs, path) };
}

async function* filePieces(fs: FileModule, path: string): AsyncGenerator<Uint8Array> {
  const file = await fs.open(path, "r");
  try {
    while (true) {
      const piece = new Uint8Array(PIECE);
      const { bytesRead } = await file.read(piece, 0, PIECE, null);
      if (bytesRead === 0) return;
      yield piece.subarray(0, bytesRead);
    }
  } finally {
    await file.close();
  }
}

/**
 * Returns the body of one attempt. onProgress is called for the pieces of a stream, and for a content of one piece. Without a
 * way to send streams, a stream is collected first, and onProgress is not called.
 */
export async function bodyOf(source: Source, onProgress: Progress): Promise<BodyInit> {
  const opened = source.open();
  if (opened instanceof Blob && !sendsStreams()) return opened;
  if (opened instanceof Blob && opened.size <= PIECE) {
    onProgress(opened.size, opened.size);
    return opened;
  }
  const pieces = opened instanceof Blob ? blobPieces(opened) : opened;
  const stream = streamOf(pieces, source.size, sendsStreams() ? onProgress : undefined);
  return sendsStreams() ? stream : await new Response(stream).blob();
}

async function* blobPieces(blob: Blob): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < blob.size; at += PIECE) {
    yield new Uint8Array(await blob.slice(at, at + PIECE).arrayBuffer());
  }
}

function streamOf(pieces: AsyncIterable<Uint8Array>, size: number | undefined, onProgress?: Progress) {
  const iterator = pieces[Symbol.asyncIterator]();
  let sent = 0;
  return new ReadableStream<Uint8Array>({
    async pull(controller) {
      const { done, value } = await iterator.next();
      if (done) return controller.close();
      controller.enqueue(value);
      sent += value.byteLength;
      onProgress?.(sent, size);
    },
    async cancel() {
      await iterator.return?.();
    },
  });
}

/** Yields the pieces of a stream, and cancels it if the loop ends early. Not all browsers iterate over streams. */
export async function* piecesOf(stream: ReadableStream<Uint8Array>): AsyncGenerator<Uint8Array> {
  const reader = stream.getReader();
  try {
    while (true) {
      const { done, value } = await reader.read();
      if (done) return;
      yield value;
    }
  } finally {
    await reader.cancel().catch(() => undefined);
  }
}

/** Returns a web stream of pieces. A cancelled stream ends the pieces. */
export function webStream(pieces: AsyncIterable<Uint8Array>): ReadableStream<Uint8Array> {
  return streamOf(pieces, undefined);
}
