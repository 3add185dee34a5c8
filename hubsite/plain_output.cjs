// Takes the colours out of what a program of Node prints.
"use strict";

const COLOURS = /\x1b\[[0-9;]*m/g;

for (const stream of [process.stdout, process.stderr]) {
  const write = stream.write.bind(stream);
  stream.write = (chunk, ...rest) => write(typeof chunk === "string" ? chunk.replace(COLOURS, "") : chunk, ...rest);
}
