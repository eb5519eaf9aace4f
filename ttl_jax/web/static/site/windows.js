// Windows of an image, restored one by one and blended, as ttl_jax/inference/windows.py
// defines. Settings are `window`, `margin` and `grid`, in pixels.

/** Windows along one axis: first pixel and number of pixels of each, and the overlap. */
export function divide(length, { window, margin, grid }) {
  const shared = Math.ceil(margin / grid);
  const most = Math.max(Math.floor(window / grid), 3 * shared);
  const steps = Math.ceil(length / grid);
  const count = Math.max(Math.ceil((steps - shared) / (most - shared)), 1);
  const total = steps + (count - 1) * shared;
  const parts = [];
  for (let k = 0, start = 0; k < count; k++) {
    const side = (Math.floor(total / count) + (k < total % count ? 1 : 0)) * grid;
    parts.push({ start, side });
    start += side - shared * grid;
  }
  return { length, parts, overlap: shared * grid };
}

/** Weight of each pixel of a window; 0 beyond the image. */
export function weights({ length, parts, overlap }, k) {
  const { start, side } = parts[k];
  return Float32Array.from({ length: side }, (_, i) => {
    if (start + i >= length) return 0;
    if (k > 0 && i < overlap) return (i + 0.5) / overlap;
    const after = i - (side - overlap);
    return k < parts.length - 1 && after >= 0 ? 1 - (after + 0.5) / overlap : 1;
  });
}

/** Index into an axis that is continued by reflection, without repeating the last pixel. */
export function reflect(i, length) {
  const period = Math.max(2 * (length - 1), 1);
  return Math.min(i % period, period - (i % period));
}

/** Row of the nearest visible pixel of the column, for each pixel; -1 if there is none. */
function findRows({ data, width, height }) {
  const rows = new Int32Array(width * height);
  for (let x = 0; x < width; x++) {
    for (let y = 0, above = -1; y < height; y++) {
      if (data[4 * (y * width + x) + 3]) above = y;
      rows[y * width + x] = above;
    }
    for (let y = height - 1, below = -1; y >= 0; y--) {
      const above = rows[y * width + x];
      if (above === y) below = y;
      if (below >= 0 && (above < 0 || below - y < y - above)) rows[y * width + x] = below;
    }
  }
  return rows;
}

/** Column q of the least (x - q)² + heights[q] for each x, by parabolas (transparency.py). */
function findColumns(heights) {
  const vertices = [], starts = []; // of the lower envelope
  for (const [q, height] of heights.entries()) {
    if (height === Infinity) continue;
    let start = -Infinity;
    while (vertices.length) {
      const v = vertices.at(-1);
      start = (height + q * q - heights[v] - v * v) / (2 * (q - v));
      if (start > starts.at(-1)) break;
      vertices.pop(), starts.pop();
      start = -Infinity;
    }
    vertices.push(q), starts.push(start);
  }
  let at = 0;
  return heights.map((_, x) => {
    while (starts[at + 1] < x) at++;
    return vertices[at];
  });
}

/** Colours in which each pixel of alpha 0 has those of the nearest visible one. */
function fillHidden(image) {
  const { data, width, height } = image;
  let numHidden = 0;
  for (let i = 3; i < data.length; i += 4) numHidden += data[i] === 0;
  if (numHidden === 0 || numHidden === width * height) return data;
  const rows = findRows(image), filled = data.slice();
  for (let y = 0, at = 0; y < height; y++) {
    const ofRow = rows.subarray(y * width, (y + 1) * width);
    const heights = Float64Array.from(ofRow, (row) => row < 0 ? Infinity : (row - y) ** 2);
    const columns = findColumns(heights);
    for (let x = 0; x < width; x++, at++) {
      if (data[4 * at + 3]) continue;
      const q = columns[x], from = 4 * (ofRow[q] * width + q);
      for (let k = 0; k < 3; k++) filled[4 * at + k] = data[from + k];
    }
  }
  return filled;
}

/**
 * Restores an ImageData in place; alpha stays, and grey stays grey. Colours under alpha 0
 * stay and have no influence.
 *
 * `compute(values, height, width)` returns the restored values of a window, from [0, 1].
 */
export async function restore(image, strength, settings, compute) {
  const { data, width, height } = image;
  if (2 * Math.min(width, height) < settings.grid) return; // too small
  const rows = divide(height, settings), columns = divide(width, settings);
  const colours = fillHidden(image);
  const sums = new Float32Array(3 * width * height);
  for (const [r, { start: top, side: h }] of rows.parts.entries()) {
    const ofRows = weights(rows, r);
    for (const [c, { start: left, side: w }] of columns.parts.entries()) {
      const ofColumns = weights(columns, c);
      const values = new Float32Array(3 * h * w);
      for (let y = 0, to = 0; y < h; y++) {
        const line = reflect(top + y, height) * width;
        for (let x = 0; x < w; x++) {
          const from = 4 * (line + reflect(left + x, width));
          for (let k = 0; k < 3; k++) values[to++] = colours[from + k] / 255;
        }
      }
      const restored = await compute(values, h, w);
      for (let y = 0; y < Math.min(h, height - top); y++)
        for (let x = 0; x < Math.min(w, width - left); x++) {
          const weight = ofRows[y] * ofColumns[x];
          const to = 3 * ((top + y) * width + left + x), from = 3 * (y * w + x);
          for (let k = 0; k < 3; k++) sums[to + k] += weight * restored[from + k];
        }
    }
  }
  apply(data, colours, sums, strength);
}

function apply(data, colours, sums, strength) {
  let isGrey = true;
  for (let i = 0; i < data.length && isGrey; i += 4)
    isGrey = colours[i] === colours[i + 1] && colours[i] === colours[i + 2];
  const clip = (value) => Math.min(Math.max(value, 0), 1);
  for (let i = 0, j = 0; i < data.length; i += 4, j += 3) {
    if (colours !== data && data[i + 3] === 0) continue;
    const values = [clip(sums[j]), clip(sums[j + 1]), clip(sums[j + 2])];
    const mean = (values[0] + values[1] + values[2]) / 3;
    for (let k = 0; k < 3; k++) {
      const value = isGrey ? mean : values[k], original = data[i + k] / 255;
      data[i + k] = Math.round(255 * clip(original + strength * (value - original)));
    }
  }
}
