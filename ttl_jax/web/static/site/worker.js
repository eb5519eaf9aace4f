// Restores photographs in a thread of their own: decodes, computes, encodes.
import { start } from "./engines.js";
import { restore } from "./windows.js";

const MOST_PIXELS = 40e6; // the sums of the windows take 12 bytes each

async function load(name) {
  const answer = await fetch(new URL(name, import.meta.url));
  if (!answer.ok) throw new Error(`${name} cannot be loaded: status ${answer.status}`);
  return answer;
}

const settings = load("settings.json").then((answer) => answer.json());
const engine = Promise.all([settings, load("derain.onnx").then((answer) => answer.arrayBuffer())])
  .then(([{ grid }, network]) => start(
    new URLSearchParams(self.location.search).get("engine"), network, 2 * grid,
    (note) => self.postMessage({ note }),
  ));
engine.catch((error) =>
  self.postMessage({ note: `Engine: none works (${error.message ?? error}).` }));
const cancelled = new Set();
let last = Promise.resolve();

/** Computes a window, unless the photograph was cancelled before it. */
async function computeNext(number, ...window) {
  await new Promise((done) => setTimeout(done)); // so that messages are read between windows
  if (cancelled.has(number)) throw new Error("Cancelled.");
  return (await engine)(...window);
}

async function derain({ number, file, strength }) {
  let bitmap;
  try {
    // Other colour spaces, such as Display P3, become the canvas's sRGB.
    const options = { colorSpaceConversion: "default", premultiplyAlpha: "none" };
    bitmap = await createImageBitmap(file, options); // upright
  } catch {
    return { error: "This browser cannot read this file." };
  }
  const { width, height } = bitmap;
  if (width * height > MOST_PIXELS)
    return { error: `The photograph has more than ${MOST_PIXELS / 1e6} megapixels.` };
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  const pixels = context.getImageData(0, 0, width, height);
  await engine;
  await restore(pixels, strength, await settings, (...window) => computeNext(number, ...window));
  context.putImageData(pixels, 0, 0);
  const isJpeg = file.type === "image/jpeg";
  const type = isJpeg ? "image/jpeg" : "image/png";
  const blob = await canvas.convertToBlob({ type, quality: 0.95 });
  return { blob, suffix: isJpeg ? "jpg" : "png" };
}

self.onmessage = ({ data }) => {
  if (data.cancelled) return void cancelled.add(data.cancelled);
  last = last.then(async () => {
    const answer = await derain(data).catch((error) => ({ error: String(error.message ?? error) }));
    self.postMessage({ number: data.number, ...answer });
  });
};
