// Compiles Solidity's standard JSON from stdin to stdout; refuses every import that isn't among the given sources.
const solc = require("solc");

let input = "";
process.stdin.setEncoding("utf8");
process.stdin.on("data", (part) => { input += part; });
process.stdin.on("end", () => {
  const output = JSON.parse(solc.compile(input));
  process.stdout.write(JSON.stringify({ compiler: solc.version(), output }));
});
