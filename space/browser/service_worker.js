// Keeps every file of the page by its hash: unchanged ones are downloaded once, changed ones replace the old, and all of
// them are there without a connection. build.py writes files.js, which changes when any file does.

importScripts("files.js");

const CACHE = "chromagan";
const { FILES, HEADERS } = self.CHROMAGAN;
const keyOf = (sha256) => new URL(`by-hash/${sha256}`, self.registration.scope).href;

self.addEventListener("install", (event) => {
  // The page itself; runtimes and network come with the first picture.
  event.waitUntil(
    (async () => {
      const first = Object.entries(FILES).filter(([, { isLarge }]) => !isLarge);
      await Promise.all(first.map(([path, file]) => fetchToKeep(new URL(path, self.registration.scope), file)));
      await self.skipWaiting();
    })(),
  );
});

self.addEventListener("activate", (event) => {
  event.waitUntil(
    (async () => {
      const cache = await caches.open(CACHE);
      const wanted = new Set(Object.values(FILES).map(({ sha256 }) => keyOf(sha256)));
      for (const request of await cache.keys()) if (!wanted.has(request.url)) await cache.delete(request);
      await self.clients.claim();
    })(),
  );
});

self.addEventListener("fetch", (event) => {
  const { method, url } = event.request;
  if (method !== "GET" || !url.startsWith(self.registration.scope)) return;
  const path = new URL(url).href.slice(self.registration.scope.length).replace(/[?#].*/s, "") || "index.html";
  if (Object.hasOwn(FILES, path)) event.respondWith(answer(new URL(path, self.registration.scope), FILES[path], event));
});

/** The kept file, or the server's, which is kept if it is whole and the one that was built. */
async function answer(address, file, event) {
  const cache = await caches.open(CACHE);
  const kept = await cache.match(keyOf(file.sha256));
  if (kept) return kept;
  const response = await fetched(address);
  if (!response.ok) return response;
  const [forPage, forCache] = response.body.tee();
  event.waitUntil(keep(cache, new Response(forCache, isolated(response)), file));
  return new Response(forPage, isolated(response));
}

async function fetchToKeep(address, file) {
  const cache = await caches.open(CACHE);
  if (await cache.match(keyOf(file.sha256))) return;
  const response = await fetched(address);
  if (!response.ok) throw new Error(`${address}: ${response.status}`);
  await keep(cache, new Response(response.body, isolated(response)), file);
}

function fetched(address) {
  return fetch(address, { cache: "no-cache", credentials: "same-origin" });
}

async function keep(cache, response, { sha256 }) {
  const { headers } = response;
  const bytes = await response.arrayBuffer();
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  const found = Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
  if (found === sha256) await cache.put(keyOf(sha256), new Response(bytes, { headers }));
}

/** What threads need, and the policy, also where the server does not send them. */
function isolated({ headers: sent }) {
  const headers = new Headers({ "Content-Type": sent.get("Content-Type") ?? "application/octet-stream" });
  for (const [name, value] of Object.entries(HEADERS)) headers.set(name, value);
  return { headers };
}
