// What computes: WebGPU where it can take the network's 16-bit numbers, WebAssembly elsewhere.

/** "webgpu" or "wasm"; of the page and of its workers the same. */
export async function bestBackend() {
  try {
    const adapter = await navigator.gpu?.requestAdapter();
    // A fallback adapter is a program on the CPU, a hundred times slower than WebAssembly.
    return adapter?.features.has("shader-f16") && !adapter.info?.isFallbackAdapter ? "webgpu" : "wasm";
  } catch {
    return "wasm";
  }
}
