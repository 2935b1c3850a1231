// Pixels, in a worker of its own: files -> gray for the network; its ab -> previews and full-size files.

import { answer } from "./calls.js";
import { Composition } from "./composition.js";
import { decode, grayOf } from "./decoding.js";
import { networkSize, resized } from "./resizing.js";

const PREVIEW_SIDE = 1600;
const THUMBNAIL_SIDE = 192;
const BLOCK_PIXELS = 2 ** 19; // composed at a time
const QUALITY = 0.95; // of JPEG files

const chromas = new Map(); // by picture: what the network said, all that is kept of a picture
let last = { id: null }; // the picture that was decoded last, at full size

async function decoded(id, file) {
  if (last.id !== id) {
    last = { id: null }; // the one before goes first: two of them may be too much for a phone
    last = { id, ...(await decode(file, PREVIEW_SIDE)) };
  }
  return last;
}

function chromaOf(id) {
  if (!chromas.has(id)) throw new Error("its colors were lost when memory ran out; remove it and choose it again");
  return chromas.get(id);
}

/** A canvas of the colors, block by block. */
function compose(gray, chroma, saturation) {
  const canvas = new OffscreenCanvas(gray.width, gray.height);
  const context = canvas.getContext("2d", { willReadFrequently: true, colorSpace: "srgb", alpha: gray.alpha !== null });
  if (!context) throw new Error(`there is not enough memory for ${gray.width} × ${gray.height} pixels`);
  const composition = new Composition(gray, chroma, saturation);
  const count = Math.max(1, Math.floor(BLOCK_PIXELS / gray.width));
  for (let top = 0; top < gray.height; top += count) {
    const rows = composition.rows(top, Math.min(top + count, gray.height));
    context.putImageData(new ImageData(rows, gray.width), 0, top);
  }
  return canvas;
}

answer({
  /** The gray of a picture as the network wants it. */
  async read({ id, file, size }) {
    const { width, height, levels } = await decoded(id, file);
    const working = networkSize(height, width, size);
    const gray = resized(levels, width, height, working);
    return { result: { width, height, working, gray }, transfer: [gray.buffer] };
  },

  /** Keeps what the network said about a picture. */
  keep({ id, ab, height, width }) {
    chromas.set(id, { ab, height, width });
  },

  forget({ id }) {
    chromas.delete(id);
    if (last.id === id) last = { id: null };
  },

  /** The picture before and after, at most as large as a screen. */
  async preview({ id, file, saturation }) {
    const { preview } = await decoded(id, file);
    last.previewGray ??= grayOf(preview);
    const after = compose(last.previewGray, chromaOf(id), saturation).transferToImageBitmap();
    const before = await createImageBitmap(preview);
    return { result: { before, after }, transfer: [before, after] };
  },

  /** The picture in color, small. */
  async thumbnail({ id, file, saturation }) {
    const { preview } = await decoded(id, file);
    last.previewGray ??= grayOf(preview);
    const whole = compose(last.previewGray, chromaOf(id), saturation);
    const scale = Math.min(1, THUMBNAIL_SIDE / Math.min(whole.width, whole.height));
    const small = await createImageBitmap(whole, {
      resizeWidth: Math.max(1, Math.round(whole.width * scale)),
      resizeHeight: Math.max(1, Math.round(whole.height * scale)),
      resizeQuality: "high",
    });
    return { result: small, transfer: [small] };
  },

  /** The picture in color at full size, as a file. */
  async save({ id, file, saturation, type }) {
    const gray = await decoded(id, file);
    return await compose(gray, chromaOf(id), saturation).convertToBlob({ type, quality: QUALITY });
  },
});
