/** The README's examples, one after the other, compile and run against the real service. */

import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import test from "node:test";
import { fileURLToPath } from "node:url";

import ts from "typescript";

const PACKAGE = new URL("../../", import.meta.url);

test("the README's examples work", async () => {
  const readme = readFileSync(new URL("README.md", PACKAGE), "utf8");
  const examples = [...readme.matchAll(/^```ts\n(.*?)^```$/gms)].map((match) => match[1]);
  assert.ok(examples.length >= 6);
  const source = fileURLToPath(new URL("dist-test/readme.ts", PACKAGE));
  writeFileSync(source, `${examples.join("\n")}\nexport { reply, report };\n`);
  const program = ts.createProgram([source], {
    target: ts.ScriptTarget.ES2022,
    module: ts.ModuleKind.NodeNext,
    lib: ["lib.es2022.d.ts", "lib.dom.d.ts"],
    types: [],
    strict: true,
  });
  program.emit();
  const messages = ts.getPreEmitDiagnostics(program).map((each) => ts.flattenDiagnosticMessageText(each.messageText, "\n"));
  assert.deepEqual(messages, []);
  const { reply } = await import(new URL("dist-test/readme.js", PACKAGE).href);
  assert.deepEqual(reply, { role: "assistant", content: "The model's costly answer." });
});
