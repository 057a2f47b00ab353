/** The server of the tests: the environment names it. test/e2e/typescript_test.go starts it. */

import assert from "node:assert/strict";
import { type Operation, op } from "../src/operations.js";

/** Returns a variable of the environment, which must be set. */
export function needed(name: string): string {
  const value = process.env[name];
  assert(value, `${name} must be set; go test ./test/e2e -run TypeScript does it`);
  return value;
}

/** Returns the URL and the token of a server with real sandboxes. */
export function realServer(): { url: string; token: string } {
  return { url: needed("CELLHOLD_TEST_URL"), token: needed("CELLHOLD_TEST_TOKEN") };
}

/** The ids of the operations that `recorded` saw. */
export const used = new Set<string>();

/** Is `fetch`, and keeps the ids of the operations. */
export const recorded: typeof fetch = (input, init) => {
  const { pathname } = new URL(String(input));
  used.add(operationOf(init?.method ?? "GET", pathname).id);
  return fetch(input, init);
};

function operationOf(method: string, path: string): Operation {
  if (/^\/v1\/sessions\/[^/]+\/ports\/\d/.test(path)) return op.usePort;
  const found = Object.values<Operation>(op).find((operation) => {
    const form = operation.path.replace("{path}", ".+").replaceAll(/\{\w+\}/g, "[^/]+");
    return operation.method === method && new RegExp(`^${form}$`).test(path);
  });
  assert(found, `${method} ${path} is no operation of the document`);
  return found;
}
