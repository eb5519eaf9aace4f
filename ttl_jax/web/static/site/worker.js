// Restores photographs in a thread of their own: decodes, computes, encodes.
import * as ort from "./ort.wasm.min.mjs";
import { restore } from "./windows.js";

const MOST_PIXELS = 40e6; // the sums of the windows take 12 bytes each

ort.env.wasm.wasmPaths = new URL("./", import.meta.url).href;
// Threads share memory, which a page may only if its server isolates it.
ort.env.wasm.numThreads = self.crossOriginIsolated ? navigator.hardwareConcurrency : 1;

const load = async (name) => (await fetch(new URL(name, import.meta.url))).arrayBuffer();
const settings = load("settings.json").then((data) => JSON.parse(new TextDecoder().decode(data)));
const session = load("derain.onnx").then((data) => ort.InferenceSession.create(data));
let last = Promise.resolve();

async function compute(values, height, width) {
  const network = await session;
  const image = new ort.Tensor("float32", values, [1, height, width, 3]);
  const { restored } = await network.run({ image });
  return restored.data;
}

async function derain({ file, strength }) {
  let bitmap;
  try {
    const options = { colorSpaceConversion: "none", premultiplyAlpha: "none" };
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
  await restore(pixels, strength, await settings, compute);
  context.putImageData(pixels, 0, 0);
  const isJpeg = file.type === "image/jpeg";
  const type = isJpeg ? "image/jpeg" : "image/png";
  const blob = await canvas.convertToBlob({ type, quality: 0.95 });
  return { blob, suffix: isJpeg ? "jpg" : "png" };
}

self.onmessage = ({ data }) => {
  last = last.then(async () => {
    const answer = await derain(data).catch((error) => ({ error: String(error.message ?? error) }));
    self.postMessage({ number: data.number, ...answer });
  });
};
