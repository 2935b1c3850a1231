// Full-size luminance + chroma at the network's size, enlarged bilinearly -> color pixels, row block by row block; as
// modeling_chromagan/composition.py does it.

import { colorPixel, targetsOf } from "./color.js";

/**
 * The colors of one picture.
 *
 * `gray` is { width, height, levels: Uint8Array or Uint16Array of sRGB-coded luminance, alpha: Uint8Array or null },
 * `chroma` is { width, height, ab: Float32Array of a, then b, in Lab units }, which covers the whole picture.
 */
export class Composition {
  constructor(gray, chroma, saturation) {
    this.gray = gray;
    this.chroma = reducedTo(gray, chroma);
    this.saturation = saturation;
    this.targets = targetsOf(gray.levels);
    this.columns = positions(gray.width, this.chroma.width);
    this.rowPositions = positions(gray.height, this.chroma.height);
  }

  /** Rows `start` to `stop` as RGBA bytes. */
  rows(start, stop) {
    const { width, levels, alpha } = this.gray;
    const { width: count, height: rowCount, ab } = this.chroma;
    const { below, above, share } = this.columns;
    const plane = count * rowCount;
    const rowOfA = new Float32Array(count);
    const rowOfB = new Float32Array(count);
    const pixels = new Uint8ClampedArray(4 * width * (stop - start));
    let at = 0;
    for (let y = start; y < stop; y++) {
      const upper = this.rowPositions.below[y] * count;
      const lower = this.rowPositions.above[y] * count;
      const weight = this.rowPositions.share[y];
      for (let i = 0; i < count; i++) {
        rowOfA[i] = this.saturation * (ab[upper + i] + weight * (ab[lower + i] - ab[upper + i]));
        const upperB = ab[plane + upper + i];
        rowOfB[i] = this.saturation * (upperB + weight * (ab[plane + lower + i] - upperB));
      }
      for (let x = 0; x < width; x++, at += 4) {
        const left = below[x];
        const right = above[x];
        const a = rowOfA[left] + share[x] * (rowOfA[right] - rowOfA[left]);
        const b = rowOfB[left] + share[x] * (rowOfB[right] - rowOfB[left]);
        const index = y * width + x;
        colorPixel(pixels, at, this.targets, levels[index], a, b);
        pixels[at + 3] = alpha ? alpha[index] : 255;
      }
    }
    return pixels;
  }
}

/** Between which two of `count` values, and how far, each of `size` pixels lies. */
function positions(size, count) {
  const below = new Int32Array(size);
  const above = new Int32Array(size);
  const share = new Float32Array(size);
  for (let i = 0; i < size; i++) {
    const position = Math.min(Math.max(((i + 0.5) * count) / size - 0.5, 0), count - 1);
    below[i] = Math.floor(position);
    above[i] = Math.min(below[i] + 1, count - 1);
    share[i] = position - below[i];
  }
  return { below, above, share };
}

/** The chroma, averaged over areas to the picture's size where it is finer than the picture itself. */
function reducedTo(gray, chroma) {
  const width = Math.min(gray.width, chroma.width);
  const height = Math.min(gray.height, chroma.height);
  if (width === chroma.width && height === chroma.height) return chroma;
  const ab = new Float32Array(2 * width * height);
  for (let plane = 0; plane < 2; plane++) {
    const offset = plane * chroma.width * chroma.height;
    for (let y = 0; y < height; y++) {
      const top = Math.floor((y * chroma.height) / height);
      const bottom = Math.ceil(((y + 1) * chroma.height) / height);
      for (let x = 0; x < width; x++) {
        const left = Math.floor((x * chroma.width) / width);
        const right = Math.ceil(((x + 1) * chroma.width) / width);
        let sum = 0;
        for (let row = top; row < bottom; row++) {
          for (let column = left; column < right; column++) sum += chroma.ab[offset + row * chroma.width + column];
        }
        ab[(plane * height + y) * width + x] = sum / ((bottom - top) * (right - left));
      }
    }
  }
  return { width, height, ab };
}
