// Answers the requests of derain.js here, by a worker, in place of a server.
const worker = new Worker(`worker.js${location.search}`, { type: "module" });
const waiting = new Map();
let number = 0;

worker.onmessage = ({ data }) => {
  if (data.note) return void (engine.textContent = data.note);
  const { resolve } = waiting.get(data.number);
  waiting.delete(data.number);
  resolve(data.error
    ? Response.json({ error: data.error }, { status: 422 })
    : new Response(data.blob, { headers: {
        "content-disposition": `attachment; filename="derained.${data.suffix}"`,
        "x-not-kept": "metadata",
      } }));
};
worker.onerror = () => {
  for (const { reject } of waiting.values()) reject(new Error("the worker failed"));
  waiting.clear();
};

const restore = (form) => new Promise((resolve, reject) => {
  waiting.set(++number, { resolve, reject });
  worker.postMessage({ number, file: form.get("image"), strength: Number(form.get("strength")) });
});
const load = window.fetch.bind(window);
window.fetch = (name, options) =>
  name === "api/derain" ? restore(options.body) : load(name, options);

const text = document.querySelector("header p"), engine = document.createElement("p");
text.textContent = "They do not leave this device.";
engine.textContent = "Engine: starting …";
text.after(engine);
