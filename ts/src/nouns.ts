/** The smaller parts of a session: checkpoints, network access, notebook and packages. */

import { InvalidError } from "./errors.js";
import type { Link } from "./link.js";
import type * as models from "./models.js";
import { op } from "./operations.js";
import type { AbortOption } from "./options.js";
import { node } from "./runtime.js";
import { decoded, listOf } from "./values.js";

/** The checkpoints of a session: `session.checkpoints`. They are deleted with the session. */
export class Checkpoints {
  readonly #link: Link;

  /** Made by the package. */
  constructor(link: Link) {
    this.#link = link;
  }

  /**
   * Saves the session under a name: letters, digits, '.', '_' and '-', at most 64.
   *
   * Throws ConflictError if the name exists, or a cell, command or transfer is running.
   */
  create(name: string): Promise<models.Checkpoint> {
    const json: models.MakeCheckpoint = { name };
    return this.#link.call<models.Checkpoint>(op.makeCheckpoint, { json });
  }

  /** Returns the checkpoints, oldest first, with their size in bytes. */
  async list(): Promise<models.Checkpoint[]> {
    return listOf((await this.#link.call<models.CheckpointList>(op.listCheckpoints)).checkpoints);
  }

  /** Deletes a checkpoint. Throws NotFoundError. */
  async delete(name: string): Promise<void> {
    await this.#link.send(op.deleteCheckpoint, { parts: [name] });
  }
}

/** The connections of a session's code to hosts: `session.egress`. The creation of the session sets the hosts. */
export class Egress {
  readonly #link: Link;

  /** Made by the package. */
  constructor(link: Link) {
    this.#link = link;
  }

  /** Returns the network access: the policy, and the hosts of an allowlist. */
  async policy(): Promise<models.Egress> {
    return (await this.#link.call<models.Session>(op.getSession)).egress;
  }

  /** Returns all attempts to connect to a host with positions above after, also refused ones, oldest first. */
  async attempts(options: { after?: number } = {}): Promise<models.EgressAttempt[]> {
    const found = new Map<string, models.EgressAttempt>();
    for (let after = options.after ?? 0; ; ) {
      const page = await this.#link.call<models.AttemptPage>(op.listEgress, { query: { after } });
      for (const attempt of listOf(page.attempts)) found.set(attempt.id, attempt);
      if (listOf(page.attempts).length === 0 || page.next === after) return [...found.values()];
      after = page.next;
    }
  }
}

/** A form of a notebook: a Jupyter notebook (nbformat 4.5), a Python script, or a page without scripts. */
export type NotebookFormat = "ipynb" | "py" | "html";

/** The cells and outputs of a session as a Jupyter notebook: `session.notebook`. */
export class Notebook {
  readonly #link: Link;

  /** Made by the package. */
  constructor(link: Link) {
    this.#link = link;
  }

  /** Returns the text of the notebook. kernel is the id of a kernel. Default: the first one. */
  async read(format: NotebookFormat = "ipynb", options: { kernel?: string } = {}): Promise<string> {
    return decoded(await this.#link.send(op.getNotebook, { query: { format, kernel: options.kernel } }));
  }

  /**
   * Writes the notebook to a file of this machine, in the format of the suffix: .ipynb, .py or .html. Node, Deno and Bun
   * only.
   *
   * Throws InvalidError for another suffix, and UnsupportedError in a browser.
   */
  async save(path: string, options: { kernel?: string } = {}): Promise<void> {
    const format = (["ipynb", "py", "html"] as const).find((suffix) => path.endsWith(`.${suffix}`));
    if (!format) throw new InvalidError(`The suffix of ${path} is no format of notebooks; use .ipynb, .py or .html.`);
    const { fs } = await node("Notebooks are saved to files");
    await fs.writeFile(path, await this.read(format, options));
  }

  /**
   * Adds the cells of a notebook with their outputs to a session without cells, and returns their ids.
   *
   * notebook is the text or the bytes of an .ipynb file. With run, the code cells are submitted in order.
   */
  async load(notebook: string | Uint8Array | Blob, options: { run?: boolean } = {}): Promise<string[]> {
    const made = await this.#link.call<models.ImportedNotebook>(op.importNotebook, {
      query: { run: options.run },
      body: () => new Blob([notebook as BlobPart]),
      headers: { "Content-Type": "application/x-ipynb+json" },
    });
    return listOf(made.cells);
  }
}

/** The packages of a session, for all its kernels: `session.packages`. */
export class Packages {
  readonly #link: Link;

  /** Made by the package. */
  constructor(link: Link) {
    this.#link = link;
  }

  /**
   * Installs packages, and returns the changes, the warnings and the log of the installer.
   *
   * requirements are names with extras, versions, markers and hashes, in the syntax of pip. requirementsFile is the text of a
   * requirements file, such as one of `lock`, at most 4 MiB. onProgress is called each second with the seconds since the
   * beginning.
   *
   * Throws DeniedError if the operator's policy forbids a package. A lost connection does not stop the installation.
   */
  async install(
    requirements: string | readonly string[],
    options: { requirementsFile?: string; onProgress?: (seconds: number) => void } & AbortOption = {},
  ): Promise<models.Installation> {
    const { requirementsFile, onProgress, signal } = options;
    const list = typeof requirements === "string" ? [requirements] : [...requirements];
    const json: models.InstallPackages = {
      requirements: list.length > 0 ? list : undefined,
      requirements_file: requirementsFile,
    };
    const begun = performance.now();
    const timer = onProgress && setInterval(() => onProgress((performance.now() - begun) / 1000), 1000);
    try {
      return await this.#link.call<models.Installation>(op.installPackages, { json, signal });
    } finally {
      clearInterval(timer);
    }
  }

  /** Returns the packages that differ from the image, by name, with their versions. */
  async list(): Promise<models.Package[]> {
    return listOf((await this.#link.call<models.PackageList>(op.listPackages)).packages);
  }

  /** Returns a requirements file with versions and hashes, to install the same files elsewhere. */
  async lock(): Promise<string> {
    return decoded(await this.#link.send(op.lockPackages));
  }

  /** Removes a package. Its dependencies stay. */
  remove(name: string): Promise<models.Installation> {
    return this.#link.call<models.Installation>(op.removePackage, { parts: [name] });
  }
}
