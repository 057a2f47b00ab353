/** Options that several methods have. */

import type * as models from "./models.js";
import type { FigureFormat } from "./outputs.js";

/** Network access: "none", "public", a list of hosts, or the form of the API. */
export type EgressSetting = "none" | "public" | readonly string[] | models.Egress;

/** Secrets that code can use without seeing them: in the form of the API, or the host and the value by name. */
export type SecretsSetting =
  | readonly models.Secret[]
  | Readonly<Record<string, { readonly host: string; readonly value: string }>>;

/** Formats of figures, or formats with dpi. */
export type FiguresSetting = readonly FigureFormat[] | models.Figures;

/** An option of calls that wait. */
export interface AbortOption {
  /** Ends the call when it aborts. Code that runs continues. The call throws the reason of the signal. */
  signal?: AbortSignal;
}

/** Returns network access in the form of the API. */
export function egressOf(value: EgressSetting | undefined): models.Egress | undefined {
  if (value === "none" || value === "public") return { policy: value };
  return isList(value) ? { policy: "allowlist", hosts: [...value] } : value;
}

/** Returns secrets in the form of the API. */
export function secretsOf(value: SecretsSetting | undefined): models.Secret[] | undefined {
  if (value === undefined || isList(value)) return value && [...value];
  return Object.entries(value).map(([name, secret]) => ({ name, host: secret.host, value: secret.value }));
}

/** Returns formats of figures in the form of the API. */
export function figuresSetting(value: FiguresSetting | undefined): models.Figures | undefined {
  return isList(value) ? { formats: [...value] } : value;
}

function isList<T>(value: T | readonly T[] | unknown): value is readonly T[] {
  return Array.isArray(value);
}
