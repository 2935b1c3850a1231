// The queue of pictures and the two workers that it passes them through.

import { bestBackend } from "./backend.js";
import { Caller } from "./calls.js";

/** One chosen file. */
class Picture {
  state = "waiting"; // then "reading", "colorizing", "done" or "failed"
  sentence = "Waiting for its turn.";
  thumbnail = null; // an ImageBitmap, once there are colors
  width = 0;
  height = 0;

  constructor(id, file, saturation) {
    this.id = id;
    this.file = file;
    this.saturation = saturation;
    this.thumbnailSaturation = null;
  }
}

/**
 * Colorizes the pictures that are added, one after the other.
 *
 * Events: "change" when anything about a picture is new, "done" (detail: the picture) when one is finished or has failed,
 * "loading" (detail: { loaded, total }, bytes) while the network is downloaded.
 */
export class Colorizer extends EventTarget {
  pictures = [];
  saving = false; // whether a file is being made
  backend = null; // { backend, threads }: what computes, once it does
  #settings;
  #offline;
  #network = new Caller(new URL("network_worker.js", import.meta.url));
  #darkroom = new Caller(new URL("picture_worker.js", import.meta.url));
  #working = false;
  #lastId = 0;

  /** `settings` are what build.py wrote, `offline` is of offline.js. */
  constructor(settings, offline) {
    super();
    this.#settings = settings;
    this.#offline = offline;
    this.defaultSaturation = settings.saturation;
  }

  get isBusy() {
    return this.#working || this.saving;
  }

  /** { bytes, isKept }: what the first picture downloads, and whether that is on this device already. */
  async download() {
    const { module, loader, binary } = this.#settings.runtimes[await bestBackend()];
    const files = [module, loader, binary, this.#settings.model].map((path) => this.#settings.files[path]);
    const bytes = files.reduce((sum, file) => sum + file.bytes, 0);
    return { bytes, isKept: await this.#offline.keeps(files.map(({ sha256 }) => sha256)) };
  }

  add(file) {
    const picture = new Picture(++this.#lastId, file, this.defaultSaturation);
    this.pictures.push(picture);
    this.#work();
    return picture;
  }

  remove(picture) {
    this.pictures = this.pictures.filter((other) => other !== picture);
    picture.thumbnail?.close();
    this.#darkroom.call("forget", { id: picture.id });
  }

  setSaturation(picture, saturation) {
    picture.saturation = saturation;
    this.#changed();
  }

  /** { before, after }: ImageBitmaps for the screen. */
  preview(picture) {
    return this.#darkroom.call("preview", this.#request(picture));
  }

  /** Small pictures in the colors that the sliders ask for now. */
  async renewThumbnails() {
    for (const picture of this.pictures) {
      if (picture.state === "done" && picture.thumbnailSaturation !== picture.saturation) {
        await this.#makeThumbnail(picture);
        this.#changed();
      }
    }
  }

  /** The picture at full size, as a file of `type`. */
  async file(picture, type) {
    const blob = await this.#darkroom.call("save", { ...this.#request(picture), type });
    if (blob.type !== type) throw new Error(`this browser does not write ${type}`);
    const suffix = type === "image/png" ? "png" : "jpg";
    return new File([blob], `${picture.file.name.replace(/\.[^.]*$/, "")}-color.${suffix}`, { type });
  }

  /** All finished pictures, one file at a time. */
  async *files(type) {
    for (const picture of this.pictures) {
      if (picture.state === "done") yield await this.file(picture, type);
    }
  }

  #request({ id, file, saturation }) {
    return { id, file, saturation };
  }

  async #work() {
    if (this.#working) return;
    this.#working = true;
    await this.#offline.ready; // so that what the workers load is kept
    for (let picture; (picture = this.pictures.find(({ state }) => state === "waiting")); ) {
      await this.#colorize(picture);
      this.dispatchEvent(new CustomEvent("done", { detail: picture }));
    }
    this.#working = false;
  }

  async #colorize(picture) {
    const { id, file } = picture;
    try {
      this.#enter(picture, "reading", "Reading …");
      const read = await this.#darkroom.call("read", { id, file, size: this.#settings.size });
      Object.assign(picture, { width: read.width, height: read.height });
      this.#enter(picture, "colorizing", "Preparing …");
      const onProgress = (detail) => this.dispatchEvent(new CustomEvent("loading", { detail }));
      this.backend = await this.#network.call("prepare", {}, { onProgress });
      this.#enter(picture, "colorizing", "Colorizing …");
      const { height, width } = read.working;
      const ab = await this.#network.call("run", { gray: read.gray, height, width }, { transfer: [read.gray.buffer] });
      await this.#darkroom.call("keep", { id, ab, height, width }, { transfer: [ab.buffer] });
      await this.#makeThumbnail(picture);
      this.#enter(picture, "done", `${file.name} is in color.`);
    } catch (error) {
      const isSentence = error.name === "PictureError";
      this.#enter(picture, "failed", isSentence ? error.message : `${file.name} was not colorized: ${error.message}.`);
    }
  }

  /** Says of a picture why it has no colors. */
  fail(picture, sentence) {
    this.#enter(picture, "failed", sentence);
  }

  async #makeThumbnail(picture) {
    const { saturation } = picture;
    const thumbnail = await this.#darkroom.call("thumbnail", this.#request(picture));
    picture.thumbnail?.close();
    Object.assign(picture, { thumbnail, thumbnailSaturation: saturation });
  }

  #enter(picture, state, sentence) {
    Object.assign(picture, { state, sentence });
    this.#changed();
  }

  #changed() {
    this.dispatchEvent(new Event("change"));
  }
}
