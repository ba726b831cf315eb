// Writes src/openapi.ts: the types of the service's OpenAPI document.
//
//   npm run generate -- http://127.0.0.1:8000      of a running service
//   npm run generate -- http://127.0.0.1:8000 -    to stdout instead

import { writeFileSync } from "node:fs";

import openapiTS, { astToString } from "openapi-typescript";

const [url, target = new URL("../src/openapi.ts", import.meta.url)] = process.argv.slice(2);
if (!url) {
  console.error("Give the URL of a running service: npm run generate -- http://127.0.0.1:8000");
  process.exit(2);
}
const answer = await fetch(new URL("/api/v1/openapi.json", url));
if (!answer.ok) throw new Error(`${answer.status} from ${answer.url}`);
const types = astToString(await openapiTS(await answer.json(), { alphabetize: true }));
const text = `// Generated of the service's OpenAPI document by scripts/generate.mjs: change it there.\n\n${types}`;
if (target === "-") process.stdout.write(text);
else writeFileSync(target, text);
