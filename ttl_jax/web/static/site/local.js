// Answers the requests of derain.js here, by a worker, in place of a server.
const worker = new Worker(`worker.js${location.search}`, { type: "module" });
const waiting = new Map();
let number = 0, isStopped = false;

const fail = (error) => Response.json({ error }, { status: 422 });
const STOPPED = "The engine stopped. Reload the page.";

worker.onmessage = ({ data }) => {
  if (data.note) return void (engine.textContent = data.note);
  const answer = waiting.get(data.number);
  waiting.delete(data.number);
  answer(data.error ? fail(data.error) : new Response(data.blob, { headers: {
    "content-disposition": `attachment; filename="derained.${data.suffix}"`,
    "x-not-kept": "metadata",
  } }));
};
worker.onerror = () => {
  isStopped = true;
  engine.textContent = STOPPED;
  for (const answer of waiting.values()) answer(fail(STOPPED));
  waiting.clear();
};

const restore = ({ body, signal }) => new Promise((answer) => {
  if (isStopped) return answer(fail(STOPPED));
  const own = ++number;
  waiting.set(own, answer);
  signal.onabort = () => worker.postMessage({ cancelled: own });
  worker.postMessage({ number: own, file: body.get("image"), strength: Number(body.get("strength")) });
});
const load = window.fetch.bind(window);
window.fetch = (name, options) =>
  name === "api/derain" ? restore(options) : load(name, options);

const text = document.querySelector("header p"), engine = document.createElement("p");
text.textContent = "They do not leave this device.";
engine.textContent = "Engine: starting …";
text.after(engine);
