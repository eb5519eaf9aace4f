// Restores photographs one after another, and shows them before and after.
const element = (id) => document.getElementById(id);
const list = element("photographs"), strength = element("strength");
const photographs = new Set();
let queue = Promise.resolve();

const wait = (seconds) => new Promise((done) => setTimeout(done, 1000 * seconds));

class Photograph {
  constructor(file) {
    this.file = file;
    this.leaving = new AbortController();
    this.name = file.name || "pasted";
    this.item = element("item").content.cloneNode(true).firstElementChild;
    for (const part of ["img", "a", "h2", "input", ".message", ".again", ".remove"])
      this[part.replace(".", "")] = this.item.querySelector(part);
    this.h2.textContent = this.name;
    this.input.ariaLabel = `Compare ${this.name} before and after`;
    this.again.ariaLabel = `Try ${this.name} again`;
    this.again.onclick = () => enqueue(this);
    this.remove.ariaLabel = `Remove ${this.name}`;
    this.remove.onclick = () => this.discard();
    this.img.alt = `${this.name} before`;
    this.img.onerror = () => this.img.remove(); // such as HEIC: only the result is shown
    this.img.src = URL.createObjectURL(file);
    list.append(this.item);
  }

  // States: waiting, working, done, error; failed is an error that may pass.
  say(state, text) {
    this.item.dataset.state = state;
    this.again.hidden = state !== "failed";
    this.message.textContent = text;
    element("status").textContent = `${this.name}: ${text}`;
  }

  discard() {
    photographs.delete(this);
    this.leaving.abort(); // so that the server goes on with the next one
    for (const url of [this.img.src, this.a.href]) URL.revokeObjectURL(url);
    this.item.remove();
    element("files").focus();
  }

  async restore() {
    this.waits = false;
    if (!photographs.has(this)) return;
    const share = String(strength.value / 100);
    this.say("working", "Removing rain …");
    try {
      const answer = await this.ask(share);
      if (!photographs.has(this)) return;
      if (!answer.ok) return this.say("error", (await answer.json()).error);
      await this.show(URL.createObjectURL(await answer.blob()), answer.headers);
    } catch {
      if (photographs.has(this)) this.say("failed", "The server does not answer.");
    }
  }

  async ask(share) {
    const form = new FormData();
    form.append("image", this.file);
    form.append("strength", share);
    const { signal } = this.leaving;
    for (;;) {
      const answer = await fetch("api/derain", { method: "POST", body: form, signal });
      if (answer.status !== 503) return answer;
      this.say("waiting", "The server is busy. This photograph is sent again in a moment.");
      await wait(Number(answer.headers.get("retry-after")) || 3);
      if (!photographs.has(this)) return answer;
    }
  }

  async show(url, headers) {
    URL.revokeObjectURL(this.a.href);
    const suffix = headers.get("content-disposition").match(/\.\w+/)[0];
    this.a.href = url;
    this.a.download = this.name.replace(/\.\w+$/, "") + "_derained" + suffix;
    this.a.ariaLabel = `Download ${this.a.download}`;
    this.a.hidden = false;
    const lost = headers.get("x-not-kept"), result = new Image();
    Object.assign(result, { src: url, alt: `${this.name} after` });
    const isShown = await result.decode().then(() => true, () => false);
    this.result?.remove();
    this.result = result;
    if (isShown) this.input.before(result);
    const notes = [
      lost && `Not kept: ${lost}.`,
      !isShown && "This browser cannot show this format; the download works.",
    ];
    this.say("done", ["Done.", ...notes].filter(Boolean).join(" "));
  }
}

function enqueue(photograph) {
  if (photograph.waits) return;
  photograph.waits = true;
  photograph.say("waiting", "Waiting …");
  queue = queue.then(() => photograph.restore());
}

function add(files) {
  for (const file of files) {
    const photograph = new Photograph(file);
    photographs.add(photograph);
    enqueue(photograph);
  }
}

element("files").onchange = ({ target }) => {
  add(target.files);
  target.value = ""; // the same file may be chosen again
};
document.onpaste = (event) => add(event.clipboardData.files);
document.ondragover = (event) => {
  event.preventDefault();
  element("drop").classList.add("over");
};
document.ondragleave = () => element("drop").classList.remove("over");
document.ondrop = (event) => {
  event.preventDefault();
  element("drop").classList.remove("over");
  add(event.dataTransfer.files);
};
strength.oninput = () => (element("percent").value = `${strength.value} %`);
strength.onchange = () => photographs.forEach(enqueue);
