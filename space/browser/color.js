// Color arithmetic, number for number that of modeling_chromagan/color.py, whose comments give the reasons.

const LUMINANCE_WEIGHTS = [0.212671, 0.71516, 0.072169];
const RGB_TO_XYZ = [[0.412453, 0.35758, 0.180423], LUMINANCE_WEIGHTS, [0.019334, 0.119193, 0.950227]];
const WHITE = [0.95047, 1.0, 1.08883];
const XYZ_TO_RGB = inverse(RGB_TO_XYZ);

const SRGB_CODED_JOINT = 0.04045;
const SRGB_LINEAR_JOINT = ((SRGB_CODED_JOINT + 0.055) / 1.055) ** 2.4;
const SRGB_SLOPE = SRGB_CODED_JOINT / SRGB_LINEAR_JOINT;
const LAB_JOINT = 0.008856;
const LAB_ROOT_JOINT = Math.cbrt(LAB_JOINT);
const LAB_SLOPE = (LAB_ROOT_JOINT - 16 / 116) / LAB_JOINT;
const GAMUT_TOLERANCE = 1e-6; // in linear light
const SMALLEST_GAMUT_STEP = 1 / 4096;

const LEVEL_TO_LINEAR = Float32Array.from({ length: 256 }, (_, level) => srgbToLinear(level / 255));
const LINEAR_TO_LEVEL = Uint8Array.from({ length: 65536 }, (_, linear) => Math.round(linearToSrgb(linear / 65535) * 255));

// Of 8-bit sRGB: the weighted linear light of each channel in units of 2^-30, and the 16-bit code of 2^20 luminances.
const WEIGHTED = LUMINANCE_WEIGHTS.map((weight) =>
  Int32Array.from({ length: 256 }, (_, level) => Math.round(weight * srgbToLinear(level / 255) * 2 ** 30)),
);
const CODES = Uint16Array.from({ length: 2 ** 20 + 1 }, (_, index) =>
  Math.round(linearToSrgb(Math.min((index + 0.5) / 2 ** 20, 1)) * 65535),
);

function srgbToLinear(coded) {
  return coded > SRGB_CODED_JOINT ? ((coded + 0.055) / 1.055) ** 2.4 : coded / SRGB_SLOPE;
}

function linearToSrgb(linear) {
  return linear > SRGB_LINEAR_JOINT ? 1.055 * linear ** (1 / 2.4) - 0.055 : linear * SRGB_SLOPE;
}

function labRoot(ratio) {
  return ratio > LAB_JOINT ? Math.cbrt(ratio) : LAB_ROOT_JOINT + (ratio - LAB_JOINT) * LAB_SLOPE;
}

function labUnroot(root) {
  return root > LAB_ROOT_JOINT ? root * root * root : LAB_JOINT + (root - LAB_ROOT_JOINT) / LAB_SLOPE;
}

function inverse([[a, b, c], [d, e, f], [g, h, i]]) {
  const determinant = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g);
  return [
    [e * i - f * h, c * h - b * i, b * f - c * e],
    [f * g - d * i, a * i - c * g, c * d - a * f],
    [d * h - e * g, b * g - a * h, a * e - b * d],
  ].map((row) => row.map((value) => value / determinant));
}

/** sRGB-coded luminance, 0 to 65,535, of an 8-bit sRGB color. */
export function luminanceCode(red, green, blue) {
  return CODES[(WEIGHTED[0][red] + WEIGHTED[1][green] + WEIGHTED[2][blue]) >> 10];
}

/**
 * What `colorPixel` needs to know of each of `levels` sRGB-coded gray levels: f(Y) of the Lab formulas, linear-light
 * Y in 0..1, and the Y half an 8-bit step of gray below and above.
 */
function luminanceTargets(levels) {
  const targets = { levels };
  for (const name of ["root", "neutral", "luminance", "lowest", "highest"]) targets[name] = new Float32Array(levels);
  const halfStep = 0.4999 / 255;
  for (let level = 0; level < levels; level++) {
    const gray = level / (levels - 1);
    const luminance = srgbToLinear(gray);
    targets.root[level] = labRoot(luminance);
    targets.neutral[level] = labUnroot(targets.root[level]);
    targets.luminance[level] = luminance;
    targets.lowest[level] = srgbToLinear(gray - halfStep);
    targets.highest[level] = srgbToLinear(gray + halfStep);
  }
  return targets;
}

const targetsOfDepth = new Map();

/** The targets of gray that is held as `gray`, a Uint8Array or Uint16Array. */
export function targetsOf(gray) {
  const levels = gray.BYTES_PER_ELEMENT === 1 ? 256 : 65536;
  if (!targetsOfDepth.has(levels)) targetsOfDepth.set(levels, luminanceTargets(levels));
  return targetsOfDepth.get(levels);
}

const [[RED_X, , RED_Z], [GREEN_X, , GREEN_Z], [BLUE_X, , BLUE_Z]] = XYZ_TO_RGB;
// The matrix' own white differs from WHITE in the fifth digit; gray is exempt from that tint.
const [RED_TINT, GREEN_TINT, BLUE_TINT] = XYZ_TO_RGB.map((row) => row[0] * WHITE[0] + row[1] + row[2] * WHITE[2] - 1);

function excessX(root, neutral, a) {
  return (labUnroot(root + a / 500) - neutral) * WHITE[0];
}

function excessZ(root, neutral, b) {
  return (labUnroot(root - b / 200) - neutral) * WHITE[2];
}

function isOutside(red, green, blue) {
  return (
    Math.min(red, green, blue) < -GAMUT_TOLERANCE || Math.max(red, green, blue) > 1 + GAMUT_TOLERANCE
  );
}

function nearestLevel(linear) {
  return LINEAR_TO_LEVEL[Math.min(Math.max(Math.trunc(linear * 65535 + 0.5), 0), 65535)];
}

/**
 * Writes the 8-bit sRGB of one pixel to `pixels[at]` and on: gray level `level` of `targets` with the Lab chroma a, b.
 *
 * Colors outside sRGB lose chroma at constant lightness and hue; rounding keeps the luminance, so that 8-bit gray g
 * comes back as g from every pixel, and is (g, g, g) where a = b = 0.
 */
export function colorPixel(pixels, at, targets, level, a, b) {
  const root = targets.root[level];
  const neutral = targets.neutral[level];
  const luminance = targets.luminance[level];
  const tinted = a !== 0 || b !== 0 ? luminance : 0;
  let x = excessX(root, neutral, a);
  let z = excessZ(root, neutral, b);
  let red = luminance + x * RED_X + z * RED_Z + tinted * RED_TINT;
  let green = luminance + x * GREEN_X + z * GREEN_Z + tinted * GREEN_TINT;
  let blue = luminance + x * BLUE_X + z * BLUE_Z + tinted * BLUE_TINT;
  if (isOutside(red, green, blue)) {
    let scale = 0;
    for (let step = 0.5; step >= SMALLEST_GAMUT_STEP; step /= 2) {
      const candidate = scale + step;
      x = excessX(root, neutral, a * candidate);
      z = excessZ(root, neutral, b * candidate);
      const outside = isOutside(
        luminance + x * RED_X + z * RED_Z + tinted * RED_TINT,
        luminance + x * GREEN_X + z * GREEN_Z + tinted * GREEN_TINT,
        luminance + x * BLUE_X + z * BLUE_Z + tinted * BLUE_TINT,
      );
      if (!outside) scale = candidate;
    }
    const left = scale > 0 ? tinted : 0;
    x = excessX(root, neutral, a * scale);
    z = excessZ(root, neutral, b * scale);
    red = luminance + x * RED_X + z * RED_Z + left * RED_TINT;
    green = luminance + x * GREEN_X + z * GREEN_Z + left * GREEN_TINT;
    blue = luminance + x * BLUE_X + z * BLUE_Z + left * BLUE_TINT;
  }
  const redLevel = nearestLevel(red);
  const greenLevel = nearestLevel(green);
  const blueLevel = nearestLevel(blue);
  pixels[at] = redLevel;
  pixels[at + 1] = greenLevel;
  pixels[at + 2] = blueLevel;
  const rounded =
    LEVEL_TO_LINEAR[redLevel] * LUMINANCE_WEIGHTS[0] +
    LEVEL_TO_LINEAR[greenLevel] * LUMINANCE_WEIGHTS[1] +
    LEVEL_TO_LINEAR[blueLevel] * LUMINANCE_WEIGHTS[2];
  if (rounded < targets.lowest[level] || rounded > targets.highest[level]) {
    keepLuminance(pixels, at, red, green, blue, luminance, targets.lowest[level], targets.highest[level]);
  }
}

/** Of the eight levels around a color, writes the nearest whose luminance lies in lowest..highest. */
function keepLuminance(pixels, at, red, green, blue, luminance, lowest, highest) {
  const belowRed = levelBelow(pixels[at], red);
  const belowGreen = levelBelow(pixels[at + 1], green);
  const belowBlue = levelBelow(pixels[at + 2], blue);
  const redFraction = fractionAbove(belowRed, red);
  const greenFraction = fractionAbove(belowGreen, green);
  const blueFraction = fractionAbove(belowBlue, blue);
  let bestCost = Infinity;
  for (let choice = 0; choice < 8; choice++) {
    const up = choice >> 2;
    const upGreen = (choice >> 1) & 1;
    const upBlue = choice & 1;
    const rounded =
      LEVEL_TO_LINEAR[belowRed + up] * LUMINANCE_WEIGHTS[0] +
      LEVEL_TO_LINEAR[belowGreen + upGreen] * LUMINANCE_WEIGHTS[1] +
      LEVEL_TO_LINEAR[belowBlue + upBlue] * LUMINANCE_WEIGHTS[2];
    let cost = (redFraction - up) ** 2 + (greenFraction - upGreen) ** 2 + (blueFraction - upBlue) ** 2;
    if (rounded < lowest || rounded > highest) cost += 10 + Math.abs(rounded - luminance);
    if (cost < bestCost) {
      bestCost = cost;
      pixels[at] = belowRed + up;
      pixels[at + 1] = belowGreen + upGreen;
      pixels[at + 2] = belowBlue + upBlue;
    }
  }
}

function levelBelow(nearest, linear) {
  return Math.min(Math.max(LEVEL_TO_LINEAR[nearest] > linear ? nearest - 1 : nearest, 0), 254);
}

function fractionAbove(below, linear) {
  return (linear - LEVEL_TO_LINEAR[below]) / (LEVEL_TO_LINEAR[below + 1] - LEVEL_TO_LINEAR[below]);
}
