// Functions of a worker, called from the page: one message there, one or more back.

/** A worker whose functions `call` runs; it starts with the first call. */
export class Caller {
  #address;
  #worker = null;
  #waiting = new Map();
  #last = 0;

  constructor(address) {
    this.#address = address;
  }

  /** The worker's `name(...arguments)`; `onProgress` gets what it reports on the way. */
  call(name, parameters, { onProgress = () => {}, transfer = [] } = {}) {
    this.#worker ??= this.#started();
    const id = ++this.#last;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject, onProgress });
      this.#worker.postMessage({ id, name, parameters }, transfer);
    });
  }

  #started() {
    const worker = new Worker(this.#address, { type: "module" });
    worker.addEventListener("message", ({ data: { id, progress, result, error } }) => {
      const waiting = this.#waiting.get(id);
      if (progress !== undefined) return waiting.onProgress(progress);
      this.#waiting.delete(id);
      if (error) waiting.reject(Object.assign(new Error(error.message), { name: error.name }));
      else waiting.resolve(result);
    });
    // A worker that cannot load or runs out of memory answers nothing: whoever waits is told, the next call starts anew.
    worker.addEventListener("error", (event) => {
      event.preventDefault();
      this.#worker?.terminate();
      this.#worker = null;
      const waiting = [...this.#waiting.values()];
      this.#waiting.clear();
      const error = new Error(event.message || "a part of this page could not be loaded or ran out of memory");
      for (const { reject } of waiting) reject(error);
    });
    return worker;
  }
}

/**
 * In a worker: answers calls with `functions`, one after the other. Each gets its parameters and a function that
 * reports progress, and gives a result, or { result, transfer } with what moves instead of being copied.
 */
export function answer(functions) {
  let turn = Promise.resolve();
  self.addEventListener("message", ({ data: { id, name, parameters } }) => {
    turn = turn.then(async () => {
      try {
        const given = await functions[name](parameters, (progress) => self.postMessage({ id, progress }));
        self.postMessage({ id, result: given?.transfer ? given.result : given }, given?.transfer ?? []);
      } catch (error) {
        self.postMessage({ id, error: { name: error?.name ?? "Error", message: String(error?.message ?? error) } });
      }
    });
  });
}
