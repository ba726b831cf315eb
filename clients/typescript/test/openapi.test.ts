/** The types are those of the service's OpenAPI document as it is now. */

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import test from "node:test";
import { fileURLToPath } from "node:url";

import { SERVICE_URL } from "./service.js";

const PACKAGE = new URL("../../", import.meta.url);

test("src/openapi.ts is up to date", () => {
  const script = fileURLToPath(new URL("scripts/generate.mjs", PACKAGE));
  const generated = execFileSync(process.execPath, [script, SERVICE_URL, "-"], { encoding: "utf8" });
  const checkedIn = readFileSync(new URL("src/openapi.ts", PACKAGE), "utf8");
  assert.ok(generated === checkedIn, "the OpenAPI document has changed: npm run generate -- <the service's URL>");
});
