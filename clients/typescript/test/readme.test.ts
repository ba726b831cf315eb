/** The examples of the README and of the documentation, one after the other, compile and run against the real service. */

import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import test from "node:test";
import { fileURLToPath } from "node:url";

import ts from "typescript";

import { realCache } from "./service.js";

const PACKAGE = new URL("../../", import.meta.url);

const PAGES = { readme: new URL("README.md", PACKAGE), page: new URL("../../docs/clients/typescript.md", PACKAGE) };

for (const [name, page] of Object.entries(PAGES)) {
  test(`the examples of the ${name} work`, async () => {
    const examples = [...readFileSync(page, "utf8").matchAll(/^```ts\n(.*?)^```$/gms)].map((match) => match[1]);
    assert.ok(examples.length >= 6);
    const source = fileURLToPath(new URL(`dist-test/${name}.ts`, PACKAGE));
    writeFileSync(source, `${examples.join("\n")}\nexport { report };\n`);
    const program = ts.createProgram([source], {
      target: ts.ScriptTarget.ES2022,
      module: ts.ModuleKind.NodeNext,
      lib: ["lib.es2022.d.ts", "lib.dom.d.ts"],
      types: [],
      strict: true,
    });
    program.emit();
    const found = ts.getPreEmitDiagnostics(program);
    assert.deepEqual(found.map((each) => ts.flattenDiagnosticMessageText(each.messageText, "\n")), []);
    const { report } = await import(new URL(`dist-test/${name}.js`, PACKAGE).href);
    assert.equal(report.hit, false); // and it had the lease
    const stored = await realCache().get("report");
    assert.ok(stored.hit && stored.value === "…");
    await realCache().delete("report");
  });
}
