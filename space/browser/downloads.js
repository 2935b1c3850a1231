// Files for the visitor.

import { downloadZip } from "./vendor/client-zip.js";

/** Hands `file` to the browser's downloads. */
export function saveAs(file) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(file);
  link.download = file.name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000); // when the browser has surely begun to copy it
}

/** One ZIP of the files that `files` gives one by one, names made different. */
export async function zipOf(files) {
  const blob = await downloadZip(named(files)).blob();
  return new File([blob], "photographs-in-color.zip", { type: "application/zip" });
}

async function* named(files) {
  const taken = new Set();
  for await (const file of files) {
    let name = file.name;
    for (let number = 2; taken.has(name.toLowerCase()); number++) name = file.name.replace(/(\.\w+)$/, `-${number}$1`);
    taken.add(name.toLowerCase());
    yield { name, lastModified: new Date(), input: file };
  }
}
