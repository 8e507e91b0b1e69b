// The pinned solc-js as forge calls a native solc: `--version`, or standard JSON from stdin to stdout.
const solc = require("solc");

if (process.argv.includes("--version")) {
  const version = solc.version().replace(".Emscripten.clang", ".Linux.g++");
  process.stdout.write(`solc, the solidity compiler commandline interface\nVersion: ${version}\n`);
} else {
  let input = "";
  process.stdin.setEncoding("utf8");
  process.stdin.on("data", (part) => { input += part; });
  process.stdin.on("end", () => process.stdout.write(solc.compile(input)));
}
