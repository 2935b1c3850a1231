// Gray at the network's size: Pillow's antialiased bilinear filter, columns first, then rows, as
// modeling_chromagan/image_processing_chromagan.py resizes.

/** Height and width for the network: one side is `shortest`, the other in proportion up to `longest`. */
export function networkSize(height, width, { shortest_edge: shortest, longest_edge: longest }) {
  const scale = shortest / Math.min(height, width);
  const side = (pixels) => Math.min(roundHalfToEven(pixels * scale), longest);
  return { height: side(height), width: side(width) };
}

/** Rounds as Python does. */
function roundHalfToEven(value) {
  const floor = Math.floor(value);
  if (value - floor !== 0.5) return Math.round(value);
  return floor % 2 === 0 ? floor : floor + 1;
}

/** `levels`, (height, width) of unsigned integers, as a Float32Array of `size` in 0..1. */
export function resized(levels, width, height, size) {
  const scale = levels.BYTES_PER_ELEMENT === 1 ? 255 : 65535;
  const narrow = new Float32Array(size.width * height);
  const across = filterOf(width, size.width);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < size.width; x++) {
      const weights = across[x].weights;
      let at = y * width + across[x].first;
      let sum = 0;
      for (let i = 0; i < weights.length; i++) sum += weights[i] * levels[at++];
      narrow[y * size.width + x] = sum;
    }
  }
  const result = new Float32Array(size.width * size.height);
  const down = filterOf(height, size.height);
  for (let y = 0; y < size.height; y++) {
    const { first, weights } = down[y];
    for (let x = 0; x < size.width; x++) {
      let at = first * size.width + x;
      let sum = 0;
      for (let i = 0; i < weights.length; i++, at += size.width) sum += weights[i] * narrow[at];
      result[y * size.width + x] = Math.fround(sum) / scale;
    }
  }
  return result;
}

/** Which of `from` pixels make each of `to`, with what weights: a triangle as wide as the reduction. */
function filterOf(from, to) {
  const scale = from / to;
  const support = Math.max(scale, 1);
  return Array.from({ length: to }, (_, index) => {
    const center = (index + 0.5) * scale;
    const first = Math.max(Math.trunc(center - support + 0.5), 0);
    const last = Math.min(Math.trunc(center + support + 0.5), from);
    const weights = new Float64Array(last - first);
    let sum = 0;
    for (let i = 0; i < weights.length; i++) {
      weights[i] = Math.max(1 - Math.abs((i + first - center + 0.5) / support), 0);
      sum += weights[i];
    }
    return { first, weights: weights.map((weight) => weight / sum) };
  });
}
