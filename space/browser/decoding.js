// A picture file -> upright sRGB pixels -> luminance, by the browser's own decoders.

import { luminanceCode } from "./color.js";

const ROWS_OF_PIXELS = 2 ** 20; // pixels of a large picture that exist as RGBA at one time
const LONGEST_SIDE = 16384; // of a canvas, in Chromium; with MOST_PIXELS what a tab's memory holds
const MOST_PIXELS = 100_000_000;

/** A file that cannot be used; the message is a sentence for whoever chose it. */
export class PictureError extends Error {
  name = "PictureError";
}

/**
 * Decodes `file` upright, in sRGB: profiles are applied, EXIF orientation too.
 *
 * Gives { width, height, levels, alpha, preview }: 8-bit gray exactly where all pixels are gray, else luminance of 16
 * bits; opacity where the picture has any; and a reduced copy of its colors for the screen, an ImageData of at most
 * `previewSide`.
 */
export async function decode(file, previewSide) {
  const bitmap = await decodedBitmap(file);
  try {
    const { width, height } = bitmap;
    if (Math.max(width, height) > LONGEST_SIDE || width * height > MOST_PIXELS) {
      throw new PictureError(
        `${file.name} has ${width} × ${height} pixels; this page takes at most ` +
          `${MOST_PIXELS / 1e6} megapixels and ${LONGEST_SIDE.toLocaleString("en")} pixels a side.`,
      );
    }
    return { width, height, ...luminanceOf(bitmap), preview: reducedCopy(bitmap, previewSide) };
  } finally {
    bitmap.close();
  }
}

async function decodedBitmap(file) {
  if (file.size === 0) throw new PictureError(`${file.name} is empty.`);
  try {
    return await createImageBitmap(file, { imageOrientation: "from-image", colorSpaceConversion: "default" });
  } catch {
    throw new PictureError(`${file.name} ${await whyUnreadable(file)}`);
  }
}

async function whyUnreadable(file) {
  const start = new Uint8Array(await file.slice(0, 32).arrayBuffer());
  const text = String.fromCharCode(...start);
  const save = "save it as PNG or JPEG first";
  if (/^(II\*\0|MM\0\*|II\+\0|MM\0\+)/.test(text)) {
    return `is a TIFF, which this browser does not read: ${save}, or use the command line.`;
  }
  if (/^....ftyp(heic|heix|hevc|heim|mif1|msf1)/s.test(text)) {
    return `is a HEIC picture, which this browser does not read: ${save}.`;
  }
  if (/^(\xff\xd8\xff|\x89PNG|GIF8|BM|RIFF....WEBP|....ftypavif)/s.test(text)) return "is damaged or not complete.";
  return "is no picture that this browser reads. JPEG, PNG, WebP and GIF are.";
}

/** Luminance and opacity, read in blocks of rows: a canvas of the whole picture is more than some phones allow. */
function luminanceOf(bitmap) {
  const { width, height } = bitmap;
  const count = Math.max(1, Math.min(height, Math.floor(ROWS_OF_PIXELS / width)));
  const context = contextOf(width, count);
  context.imageSmoothingEnabled = false;
  let levels = new Uint8Array(width * height);
  let alpha = null;
  for (let top = 0; top < height; top += count) {
    const rows = Math.min(count, height - top);
    context.clearRect(0, 0, width, rows);
    context.drawImage(bitmap, 0, top, width, rows, 0, 0, width, rows);
    const pixels = context.getImageData(0, 0, width, rows).data;
    if (levels.BYTES_PER_ELEMENT === 1 && !isGray(pixels)) {
      // Color: 8 bits of luminance would lose what its three channels have together.
      levels = Uint16Array.from(levels, (level) => 257 * level);
    }
    const write = levels.BYTES_PER_ELEMENT === 1 ? writeGray : writeLuminance;
    write(pixels, levels, top * width);
    alpha = readAlpha(pixels, alpha, top * width, width * height);
  }
  return { levels, alpha };
}

function contextOf(width, height) {
  // The canvas stays in main memory, where its pixels are read.
  return new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true, colorSpace: "srgb" });
}

function isGray(pixels) {
  for (let at = 0; at < pixels.length; at += 4) {
    if (pixels[at] !== pixels[at + 1] || pixels[at] !== pixels[at + 2]) return false;
  }
  return true;
}

function writeGray(pixels, levels, from) {
  for (let at = 0; at < pixels.length; at += 4) levels[from++] = pixels[at];
}

function writeLuminance(pixels, levels, from) {
  for (let at = 0; at < pixels.length; at += 4) {
    levels[from++] = luminanceCode(pixels[at], pixels[at + 1], pixels[at + 2]);
  }
}

function readAlpha(pixels, alpha, from, length) {
  for (let at = 3; at < pixels.length; at += 4, from++) {
    if (pixels[at] === 255 && !alpha) continue;
    alpha ??= new Uint8Array(length).fill(255);
    alpha[from] = pixels[at];
  }
  return alpha;
}

/** The picture at most `side` pixels long, as an ImageData. */
function reducedCopy(bitmap, side) {
  const scale = Math.min(1, side / Math.max(bitmap.width, bitmap.height));
  const width = Math.max(1, Math.round(bitmap.width * scale));
  const height = Math.max(1, Math.round(bitmap.height * scale));
  const context = contextOf(width, height);
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, width, height);
  return context.getImageData(0, 0, width, height);
}

/** Luminance and opacity of an ImageData, as `decode` gives them. */
export function grayOf(image) {
  const levels = new Uint16Array(image.width * image.height);
  writeLuminance(image.data, levels, 0);
  return { width: image.width, height: image.height, levels, alpha: readAlpha(image.data, null, 0, levels.length) };
}
