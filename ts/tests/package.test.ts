/** The package as a whole: coverage of the API, and the documentation of its names. */

import assert from "node:assert/strict";
import { readdir, readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { resolve } from "node:path";
import { test } from "node:test";
import type * as typescript from "typescript";
import { VERSION } from "../src/index.js";
import { op } from "../src/operations.js";

// The tests run in the folder ts.
const TOOLS = createRequire(resolve(process.env.CELLHOLD_TOOLS ?? "../build/tstools", "package.json"));
const LEFT_OUT = ["connect-kernel"];

test("the package uses each operation of the document", async () => {
  const files = (await readdir("src")).filter((name) => !["operations.ts", "policy.ts"].includes(name));
  const source = (await Promise.all(files.map((name) => readFile(`src/${name}`, "utf8")))).join("\n");
  const used = [...source.matchAll(/\bop\.(\w+)/g)].map(([, name]) => name);
  assert.deepEqual([...new Set(used)].sort(), Object.keys(op).sort());
  const document = TOOLS("js-yaml").load(await readFile("../api/openapi.yaml", "utf8"));
  const items = Object.entries<object>(document.paths).filter(([path]) => path.startsWith("/v1/"));
  const ids = items.flatMap(([, item]) => Object.values(item).map(({ operationId }) => operationId));
  assert.deepEqual([...Object.values(op).map(({ id }) => id), ...LEFT_OUT].sort(), ids.sort());
});

test("the policy names operations of the document", async () => {
  const named = (await readFile("src/policy.ts", "utf8")).matchAll(/^ {2}"([a-z-]+)",/gm);
  const ids: string[] = Object.values(op).map(({ id }) => id);
  const unknown = [...named].map(([, id = ""]) => id).filter((id) => !ids.includes(id));
  assert.deepEqual(unknown, []);
});

test("the README names the operations that the package does not have, and the version is one", async () => {
  const readme = await readFile("README.md", "utf8");
  for (const id of LEFT_OUT) assert(readme.includes(`\`${id}\``));
  assert.equal(JSON.parse(await readFile("package.json", "utf8")).version, VERSION);
});

test("every public name has a documentation", () => {
  const ts: typeof typescript = TOOLS("typescript");
  const program = ts.createProgram(["../build/ts/dist/index.d.ts"], { module: ts.ModuleKind.NodeNext, types: [] });
  const checker = program.getTypeChecker();
  const [file] = program.getRootFileNames();
  const source = file && program.getSourceFile(file);
  const module = source && checker.getSymbolAtLocation(source);
  assert(module);
  const missing: string[] = [];
  let count = 0;
  const look = (symbol: typescript.Symbol, name: string) => {
    count++;
    const aliased = symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol;
    if (name === "models") return; // the document describes them
    if (aliased.getDocumentationComment(checker).length === 0) missing.push(name);
    for (const [member, inner] of [...(aliased.members ?? []), ...(aliased.exports ?? [])]) {
      const text = String(member);
      const plain = /^\w+$/.test(text) && !text.startsWith("__") && text !== "prototype";
      if (plain && inner.declarations?.[0]?.parent.kind !== ts.SyntaxKind.TypeParameter) look(inner, `${name}.${text}`);
    }
  };
  for (const symbol of checker.getExportsOfModule(module)) look(symbol, symbol.name);
  assert(count > 150, `${count} names`);
  assert.deepEqual(missing, []);
});
