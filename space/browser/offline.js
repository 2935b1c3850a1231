// The page without a connection: its service worker.

// Milliseconds for a service worker that is being installed, which a slow connection draws out, and for one that is
// there and does not come: after a forced reload, for one.
const LONGEST_INSTALLATION = 60_000;
const LONGEST_WAIT = 5000;

/**
 * Starts the service worker; `onNewVersion` is called when it has brought newer files than the page's own. Gives
 * { ready, keeps }: a promise that it answers this page's requests, or that there is none, and whether files of these
 * hashes are on this device.
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
    const { installing } = await serviceWorker.register("service_worker.js", { updateViaCache: "none" });
    const failed = new Promise((resolve) => {
      installing?.addEventListener("statechange", () => installing.state === "redundant" && resolve());
    });
    const longest = installing ? LONGEST_INSTALLATION : LONGEST_WAIT;
    await Promise.race([controlled, failed, new Promise((resolve) => setTimeout(resolve, longest))]);
  } catch {
    // Private windows may refuse it: the page works, with a connection.
  }
}
