// The page without a connection: its service worker.

const LONGEST_WAIT = 5000; // milliseconds for a service worker that does not come

/**
 * Starts the service worker; `onNewVersion` is called when it has brought newer files than the page's own. Gives { ready, keeps }: a promise that it answers this page's requests, or that there is
 * none, and whether files of these hashes are on this device.
 */
export function keepOffline(onNewVersion) {
  const ready = started(onNewVersion);
  return {
    ready,
    async keeps(hashes) {
      await ready;
      if (!navigator.serviceWorker?.controller) return false;
      const cache = await caches.open("chromagan");
      const found = await Promise.all(hashes.map((hash) => cache.match(new URL(`by-hash/${hash}`, document.baseURI))));
      return found.every(Boolean);
    },
  };
}

async function started(onNewVersion) {
  const { serviceWorker } = navigator;
  if (!serviceWorker) return;
  try {
    const isFirst = !serviceWorker.controller;
    const controlled = new Promise((resolve) => {
      if (!isFirst) resolve();
      serviceWorker.addEventListener("controllerchange", isFirst ? resolve : onNewVersion, { once: true });
    });
    await serviceWorker.register("service_worker.js", { updateViaCache: "none" });
    await Promise.race([controlled, new Promise((resolve) => setTimeout(resolve, LONGEST_WAIT))]);
  } catch {
    // Private windows may refuse it: the page works, with a connection.
  }
}
