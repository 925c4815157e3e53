// Compiles one changed file after another in one process: loading the compiler anew would cost more than compiling.
// Argument: a file with the standard JSON input whose sources are the base. Each line of standard input is
// {path, content, outputSelection}, each line of standard output solc's output for the base with that file changed.
"use strict";

const fs = require("node:fs");
const readline = require("node:readline");
const solc = require("solc");

const base = JSON.parse(fs.readFileSync(process.argv[2], "utf8"));

readline.createInterface({ input: process.stdin }).on("line", (line) => {
  const { path, content, outputSelection } = JSON.parse(line);
  const contents = (name) => (name === path ? content : base.sources[name]?.content);
  const roots = [path, ...Object.keys(outputSelection)];
  const input = {
    language: "Solidity",
    sources: Object.fromEntries(roots.map((name) => [name, { content: contents(name) }])),
    settings: { ...base.settings, outputSelection },
  };
  const read = (name) => (contents(name) === undefined ? { error: "not found" } : { contents: contents(name) });
  process.stdout.write(solc.compile(JSON.stringify(input), { import: read }) + "\n");
});
