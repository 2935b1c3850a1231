// The page: what is chosen, shown and saved. Pictures are worked on in the two workers.

import { Colorizer } from "./colorizer.js";
import { Comparison } from "./comparison.js";
import { saveAs, zipOf } from "./downloads.js";
import { keepOffline } from "./offline.js";
import { QueueView } from "./queue_view.js";

const EXAMPLE = "example.jpg";
const byId = (id) => document.getElementById(id);
const megabytes = (bytes) => `${(bytes / 1e6).toFixed(0)} MB`;

const settings = await (await fetch("settings.json")).json();
const offline = keepOffline(() => {
  if (colorizer.pictures.length === 0) location.reload(); // so that no file of the one version calls one of the other
});
const colorizer = new Colorizer(settings, offline);
const comparison = new Comparison(byId("comparison"));
const queue = new QueueView(byId("pictures"), { onSelect: select, onRemove: remove });
const wordsOf = ({ backend, threads }) => {
  if (!threads) return backend;
  return `${backend} with ${threads === 1 ? "one thread" : `${threads} threads`}`;
};
let selected = null;
let shown = null; // the picture and saturation that are on the screen

function add(files) {
  say("");
  const added = [...files].map((file) => colorizer.add(file));
  if (!selected && added.length) select(added[0]);
  update();
}

function select(picture) {
  selected = picture;
  update();
  byId("stage").scrollIntoView({ block: "nearest" });
}

function remove(picture) {
  const next = colorizer.pictures[colorizer.pictures.indexOf(picture) + 1];
  colorizer.remove(picture);
  if (selected === picture) selected = next ?? colorizer.pictures.at(-1) ?? null;
  update();
  (queue.buttonOf(selected) ?? byId("files")).focus();
}

/** Brings the page to what is true now. */
function update() {
  const { pictures } = colorizer;
  const done = pictures.filter(({ state }) => state === "done");
  byId("welcome").hidden = pictures.length > 0;
  byId("queue").hidden = byId("result").hidden = pictures.length === 0;
  queue.show(pictures, selected);
  byId("download").disabled = selected?.state !== "done" || colorizer.saving;
  byId("download-all").hidden = byId("saturation-for-all").hidden = pictures.length < 2;
  byId("download-all").disabled = done.length === 0 || colorizer.saving;
  if (selected) showSelected();
  showMessages();
}

function showSelected() {
  const { file, state, saturation, width, height } = selected;
  const isDone = state === "done";
  byId("name").textContent = file.name;
  byId("facts").textContent = isDone ? `${width} × ${height} pixels` : "";
  byId("saturation").value = saturation;
  byId("saturation").disabled = byId("saturation-for-all").disabled = !isDone;
  byId("saturation-value").textContent = `× ${saturation.toFixed(2)}`;
  const isOnScreen = isDone && shown?.picture === selected; // perhaps in the colors of a moment ago
  byId("comparison").hidden = !isOnScreen;
  byId("waiting").hidden = isOnScreen;
  byId("waiting").textContent = isDone ? "Developing …" : selected.sentence;
  if (isDone && !isShown(selected)) refresh();
}

let refreshing = false;

/** Composes the selected picture for the screen, again as long as the slider moves on. */
async function refresh() {
  if (refreshing) return;
  refreshing = true;
  while (selected?.state === "done" && !isShown(selected)) {
    const picture = selected;
    const { saturation } = picture;
    try {
      const { before, after } = await colorizer.preview(picture);
      if (picture === selected) {
        comparison.show(before, after, picture.file.name);
        shown = { picture, saturation };
      }
      before.close();
      after.close();
    } catch (error) {
      colorizer.fail(picture, `${picture.file.name} cannot be shown: ${error.message}.`);
    }
  }
  refreshing = false;
  update();
}

function isShown(picture) {
  return shown?.picture === picture && shown.saturation === picture.saturation;
}

let said = "";

/** Shows a sentence beside those of the files that were not colorized. */
function say(sentence) {
  said = sentence;
  update();
}

function showMessages() {
  const sentences = colorizer.pictures.filter(({ state }) => state === "failed").map((picture) => picture.sentence);
  const text = [...sentences, said].filter(Boolean).join("\n");
  if (byId("message").textContent !== text) byId("message").textContent = text; // so that nothing is read twice
}

function announce(sentence) {
  byId("news").textContent = sentence;
}

const chosenType = () => document.querySelector("input[name=format]:checked").value;

async function save(action, sentence) {
  say("");
  colorizer.saving = true;
  update();
  announce(sentence);
  try {
    const file = await action(chosenType());
    saveAs(file);
    announce(`${file.name} is ready.`);
  } catch (error) {
    say(`The file could not be made: ${error.message}.`);
  } finally {
    colorizer.saving = false;
    update();
  }
}

colorizer.addEventListener("change", update);
colorizer.addEventListener("done", ({ detail: picture }) => {
  if (selected?.state === "failed") selected = picture;
  const { pictures } = colorizer;
  const finished = pictures.filter(({ state }) => state === "done" || state === "failed");
  byId("computing").textContent = colorizer.backend ? `Computed here by ${wordsOf(colorizer.backend)}.` : "";
  announce(`${picture.sentence} ${finished.length} of ${pictures.length} finished.`);
  update();
});
colorizer.addEventListener("loading", ({ detail: { loaded, total } }) => {
  byId("loading").hidden = loaded >= total;
  byId("loading-bar").value = loaded / total;
  byId("loading-text").textContent = `Loading the network: ${megabytes(loaded)} of ${megabytes(total)}`;
});

byId("files").addEventListener("change", (event) => {
  add(event.target.files);
  event.target.value = ""; // so that the same file can be chosen again
});
byId("example").addEventListener("click", async () => {
  const response = await fetch(EXAMPLE);
  add([new File([await response.blob()], settings.example, { type: "image/jpeg" })]);
});
byId("clear").addEventListener("click", () => {
  for (const picture of [...colorizer.pictures]) colorizer.remove(picture);
  selected = shown = null;
  update();
  byId("files").focus();
});
byId("saturation").addEventListener("input", (event) => {
  colorizer.setSaturation(selected, Number(event.target.value));
});
byId("saturation").addEventListener("change", () => colorizer.renewThumbnails());
byId("saturation-for-all").addEventListener("click", () => {
  for (const picture of colorizer.pictures) colorizer.setSaturation(picture, selected.saturation);
  colorizer.defaultSaturation = selected.saturation;
  colorizer.renewThumbnails();
  announce("All photographs have this saturation.");
});
byId("download").addEventListener("click", () => {
  const picture = selected;
  save((type) => colorizer.file(picture, type), `Preparing ${picture.file.name}.`);
});
byId("download-all").addEventListener("click", () => {
  save((type) => zipOf(colorizer.files(type)), "Preparing all photographs.");
});

document.addEventListener("paste", (event) => {
  if (event.clipboardData?.files.length) add(event.clipboardData.files);
});
let entered = 0; // elements that the dragged files are over, from the page inwards
document.addEventListener("dragenter", (event) => {
  if (event.dataTransfer?.types.includes("Files")) document.body.classList.toggle("dragging", ++entered > 0);
});
document.addEventListener("dragleave", () => {
  entered = Math.max(0, entered - 1);
  document.body.classList.toggle("dragging", entered > 0);
});
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", (event) => {
  event.preventDefault();
  entered = 0;
  document.body.classList.remove("dragging");
  if (event.dataTransfer?.files.length) add(event.dataTransfer.files);
});
window.addEventListener("beforeunload", (event) => {
  if (colorizer.isBusy) event.preventDefault();
});

const { bytes, isKept } = await colorizer.download();
byId("size").textContent = isKept
  ? "The network is on this device: the page works without a connection."
  : `The first photograph starts a download of ${megabytes(bytes)}, the network. It is kept; from then on the page works without a connection.`;
document.documentElement.dataset.ready = "true";
