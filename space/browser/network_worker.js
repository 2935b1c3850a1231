// The network, in a worker of its own so that the page never waits for it: gray at its size -> ab.

import { bestBackend } from "./backend.js";
import { answer } from "./calls.js";

let settings; // what build.py wrote
let session; // a promise of { backend, threads, run }

async function load(onProgress) {
  settings = await (await fetched("settings.json")).json();
  if ((await bestBackend()) === "wasm") return await started("wasm", onProgress);
  try {
    const onGpu = await started("webgpu", onProgress);
    await onGpu.run(new Float32Array(64 * 64).fill(0.5), 64, 64); // what it cannot do, it often says only here
    return onGpu;
  } catch (error) {
    console.warn(`WebGPU does not work here: ${error.message}`);
    return await started("wasm", onProgress);
  }
}

async function started(backend, onProgress) {
  const { module, binary } = settings.runtimes[backend];
  const total = settings.files[binary].bytes + settings.files[settings.model].bytes;
  let loaded = 0;
  const report = (bytes) => onProgress({ loaded: (loaded += bytes), total });
  const [runtimeBytes, modelBytes] = await Promise.all([bytesOf(binary, report), bytesOf(settings.model, report)]);
  const ort = await import(`./${module}`);
  ort.env.wasm.wasmPaths = new URL("vendor/", import.meta.url).href;
  ort.env.wasm.wasmBinary = runtimeBytes;
  ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(navigator.hardwareConcurrency || 1, 8) : 1;
  ort.env.logLevel = "error";
  const inference = await ort.InferenceSession.create(modelBytes, {
    executionProviders: backend === "webgpu" ? ["webgpu", "wasm"] : ["wasm"],
    graphOptimizationLevel: "all",
  });
  return {
    backend: backend === "webgpu" ? "WebGPU" : "WebAssembly",
    threads: backend === "webgpu" ? null : ort.env.wasm.numThreads,
    async run(gray, height, width) {
      const input = new ort.Tensor("float32", gray, [1, 1, height, width]);
      const outputs = await inference.run({ gray: input }, ["ab"]);
      const ab = await outputs.ab.getData();
      outputs.ab.dispose();
      return Float32Array.from(ab);
    },
  };
}

async function fetched(path) {
  const response = await fetch(new URL(path, import.meta.url));
  if (!response.ok) throw new Error(`${path} could not be loaded (${response.status})`);
  return response;
}

/** A file as bytes; `report` gets the number of each part as it comes. */
async function bytesOf(path, report) {
  const response = await fetched(path);
  const bytes = new Uint8Array(settings.files[path].bytes);
  let end = 0;
  for (const reader = response.body.getReader(); ; ) {
    const { done, value } = await reader.read();
    if (done) break;
    if (end + value.length > bytes.length) break;
    bytes.set(value, end);
    end += value.length;
    report(value.length);
  }
  if (end !== bytes.length) throw new Error(`${path} came incompletely; reload the page and try again`);
  return bytes;
}

async function loaded(onProgress) {
  session ??= load(onProgress);
  try {
    return await session;
  } catch (error) {
    session = undefined; // a connection that broke may be back the next time
    throw error;
  }
}

answer({
  /** Downloads what is missing and makes the network ready. */
  async prepare(_, onProgress) {
    const { backend, threads } = await loaded(onProgress);
    return { backend, threads };
  },

  /** `gray` in 0..1 (height, width) -> ab in Lab units. */
  async run({ gray, height, width }, onProgress) {
    const { run } = await loaded(onProgress);
    const ab = await run(gray, height, width);
    return { result: ab, transfer: [ab.buffer] };
  },
});
