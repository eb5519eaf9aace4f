// What computes the windows: WebGPU on the graphics card where it works, else WebAssembly.

const BUILDS = { wasm: "./ort.wasm.min.mjs", webgpu: "./ort.webgpu.min.mjs" };
// Note: in its usual layout, NHWC, onnxruntime-web 1.30.0 rejects a Pad along some axes only.
const PROVIDERS = { wasm: "wasm", webgpu: { name: "webgpu", preferredLayout: "NCHW" } };
const MOST_DIFFERENCE = 1 / 255;

/** Opens a network; returns the function `compute` that windows.js calls. */
async function open(network, build, provider) {
  const ort = await import(BUILDS[build]);
  ort.env.wasm.wasmPaths = new URL("./", import.meta.url).href;
  // Threads share memory, which a page may only if its server isolates it.
  ort.env.wasm.numThreads = self.crossOriginIsolated ? navigator.hardwareConcurrency : 1;
  const options = { executionProviders: [PROVIDERS[provider]], logSeverityLevel: 3 };
  const session = await ort.InferenceSession.create(network, options);
  return async (values, height, width) => {
    const image = new ort.Tensor("float32", values, [1, height, width, 3]);
    const { restored } = await session.run({ image });
    return restored.data;
  };
}

/** Opens a network for WebGPU; throws an error that says why WebGPU does not serve. */
async function openWebgpu(network, side, wanted) {
  if (wanted === "wasm") throw new Error("chosen by ?engine=wasm");
  if (wanted && wanted !== "webgpu") throw new Error("?engine= takes wasm or webgpu");
  const adapter = await navigator.gpu?.requestAdapter();
  if (!adapter) throw new Error("this browser offers no WebGPU here");
  if (adapter.info.isFallbackAdapter && !wanted) throw new Error("WebGPU is only emulated here");
  const compute = await open(network, "webgpu", "webgpu");
  const reference = await open(network, "webgpu", "wasm");
  const noise = Float32Array.from({ length: 3 * side * side }, (_, i) => (i * i * 0.618) % 1);
  const restored = await compute(noise, side, side);
  const expected = await reference(noise, side, side);
  const difference = restored.reduce((most, x, i) => Math.max(most, Math.abs(x - expected[i])), 0);
  if (!(difference <= MOST_DIFFERENCE)) // NaN neither
    throw new Error(`WebGPU differs by ${(255 * difference).toPrecision(2)} of 255`);
  return compute;
}

/**
 * Starts the engine `wanted`: "webgpu", "wasm" or null, the better one of this browser.
 *
 * An error in WebGPU, now or later, changes to WebAssembly. `report` gets one line that names
 * the engine. WebGPU is compared to WebAssembly once, in a window with sides of `side` pixels.
 */
export async function start(wanted, network, side, report) {
  let isWebgpu = true, compute;
  const useWasm = async (error) => {
    isWebgpu = false;
    const reason = String(error?.message ?? error).split("\n")[0].slice(0, 200);
    report(`Engine: WebAssembly, on the processor (${reason}).`);
    compute = await open(network, "wasm", "wasm");
  };
  try {
    compute = await openWebgpu(network, side, wanted);
    report("Engine: WebGPU, on the graphics card.");
  } catch (error) {
    await useWasm(error);
  }
  return async (...window) => {
    try {
      return await compute(...window);
    } catch (error) {
      if (!isWebgpu) throw error;
      await useWasm(error);
      return compute(...window);
    }
  };
}
