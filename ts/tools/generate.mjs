// Writes the generated files of the package from the OpenAPI document, or checks them.
//
// Use: node generate.mjs [--check]
//
// It uses the packages of the folder that CELLHOLD_TOOLS names, build/tstools by default.
// With --check nothing is written, and the exit status is 1 if a committed file differs.

import { readFile, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { dirname, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

const ROOT = resolve(dirname(fileURLToPath(import.meta.url)), "../..");
const TOOLS = createRequire(resolve(process.env.CELLHOLD_TOOLS ?? resolve(ROOT, "build/tstools"), "package.json"));
const HEADER = "// Generated from api/openapi.yaml by ts/tools/generate.mjs. Do not edit.\n";

/** Operations that the package does not have. The reasons are in its README. */
export const LEFT_OUT = ["connect-kernel"];

/** Returns the names of the schemas to which a part of the document refers. */
function uses(node) {
  if (node === null || typeof node !== "object") return [];
  const own = typeof node.$ref === "string" ? [node.$ref.split("/").at(-1)] : [];
  return [...own, ...Object.values(node).flatMap(uses)];
}

/**
 * Returns the document with the schemas of /v1 only. Objects have no fields of any name: a wrong name of a field would
 * be no error. Output has one type with all fields, as its description says which of them are present.
 */
function reduced(document, paths) {
  const { schemas } = document.components;
  const wanted = new Set();
  for (let found = uses(paths); found.length > 0; ) {
    const added = found.filter((name) => !wanted.has(name));
    for (const name of added) wanted.add(name);
    found = [...new Set(added)].flatMap((name) => uses(schemas[name]));
  }
  const kept = Object.fromEntries(Object.entries(structuredClone(schemas)).filter(([name]) => wanted.has(name)));
  for (const schema of Object.values(kept)) delete schema.additionalProperties;
  delete kept.Output.oneOf;
  return { openapi: document.openapi, info: document.info, paths: {}, components: { schemas: kept } };
}

/** Returns the text of models.ts: one exported interface for each schema. */
async function models(document, paths) {
  const { default: openapiTS, astToString } = await import(
    pathToFileURL(TOOLS.resolve("openapi-typescript/dist/index.mjs"))
  );
  const text = astToString(
    await openapiTS(reduced(document, paths), { rootTypes: true, rootTypesNoSchemaPrefix: true }),
  );
  const doc =
    "/**\n * The values of the HTTP API. Sizes are in bytes, durations in seconds, and times are texts of RFC 3339.\n *\n" +
    " * A server can send fields that are not here. Text can come from untrusted code.\n */\n";
  const unused = /export (type|interface) (paths|webhooks|operations|\$defs)\b[^\n]*\n/g;
  return HEADER + doc + text.replace(unused, "");
}

/** Returns the text of operations.ts: the table of operations. */
function operations(paths) {
  const all = Object.entries(paths).flatMap(([path, item]) =>
    Object.entries(item).map(([method, { operationId: id }]) => ({ id, method: method.toUpperCase(), path })),
  );
  const kept = all.filter(({ id }) => !LEFT_OUT.includes(id)).sort((a, b) => (a.id < b.id ? -1 : 1));
  const lines = kept.map(({ id, method, path }) => {
    const name = id.replace(/-(.)/g, (_, letter) => letter.toUpperCase());
    return `  ${name}: { id: "${id}", method: "${method}", path: "${path}" },`;
  });
  const type =
    "/** One operation: its id in the document, its method and its path. */\n" +
    "export interface Operation {\n  readonly id: string;\n  readonly method: string;\n  readonly path: string;\n}\n";
  return `${HEADER}${type}\n/** The operations of the HTTP API. */\nexport const op = {\n${lines.join("\n")}\n} as const satisfies Record<string, Operation>;\n`;
}

/** Returns the generated files by their paths in the package. */
async function generated() {
  const { load } = TOOLS("js-yaml");
  const document = load(await readFile(resolve(ROOT, "api/openapi.yaml"), "utf8"));
  const paths = Object.fromEntries(Object.entries(document.paths).filter(([path]) => path.startsWith("/v1/")));
  return { "src/models.ts": await models(document, paths), "src/operations.ts": operations(paths) };
}

let wrong = false;
for (const [name, text] of Object.entries(await generated())) {
  const file = resolve(ROOT, "ts", name);
  if (process.argv[2] !== "--check") {
    await writeFile(file, text);
  } else if ((await readFile(file, "utf8").catch(() => "")) !== text) {
    console.error(`ts/${name} is not what the generator writes; run: node ts/tools/generate.mjs`);
    wrong = true;
  }
}
process.exitCode = wrong ? 1 : 0;
