// Restores photographs one after another, and shows them before and after.
const element = (id) => document.getElementById(id);
const list = element("photographs"), strength = element("strength");
const photographs = new Set();
let queue = Promise.resolve();

const wait = (seconds) => new Promise((done) => setTimeout(done, 1000 * seconds));

class Photograph {
  constructor(file) {
    this.file = file;
    this.name = file.name || "pasted";
    this.item = element("item").content.cloneNode(true).firstElementChild;
    [this.before, this.after] = this.item.querySelectorAll("img");
    [this.link, this.slider, this.message] =
      ["a", "input", ".message"].map((part) => this.item.querySelector(part));
    this.before.alt = `${this.name} before`;
    this.item.querySelector("figcaption").textContent = `${this.name}: before | after`;
    this.item.querySelector("button").setAttribute("aria-label", `Remove ${this.name}`);
    this.item.querySelector("button").onclick = () => this.remove();
    this.before.onerror = () => this.before.remove(); // HEIC: only the result is shown
    this.after.onerror = () =>
      this.say("Done. This browser does not show this format; the download works.");
    this.before.src = URL.createObjectURL(file);
    list.append(this.item);
  }

  say(text, isError = false) {
    this.message.textContent = text;
    this.message.classList.toggle("error", isError);
    element("status").textContent = text && `${this.name}: ${text}`;
  }

  remove() {
    photographs.delete(this);
    for (const url of [this.before.src, this.link.href]) URL.revokeObjectURL(url);
    this.item.remove();
    element("files").focus();
  }

  async restore() {
    this.waits = false;
    if (!photographs.has(this)) return;
    const share = String(strength.value / 100);
    this.say("Removing rain …");
    try {
      const answer = await this.ask(share);
      if (!photographs.has(this)) return;
      if (!answer.ok) return this.say((await answer.json()).error, true);
      this.show(URL.createObjectURL(await answer.blob()), answer.headers);
    } catch {
      this.say("The server does not answer.", true);
    }
  }

  async ask(share) {
    const form = new FormData();
    form.append("image", this.file);
    form.append("strength", share);
    for (;;) {
      const answer = await fetch("api/derain", { method: "POST", body: form });
      if (answer.status !== 503) return answer;
      this.say("Waiting for the server …");
      await wait(Number(answer.headers.get("retry-after")) || 3);
    }
  }

  show(url, headers) {
    if (this.link.href) URL.revokeObjectURL(this.link.href);
    const suffix = headers.get("content-disposition").match(/\.\w+/)[0];
    this.link.href = this.after.src = url;
    this.link.download = this.name.replace(/\.\w+$/, "") + "_derained" + suffix;
    this.link.setAttribute("aria-label", `Download ${this.link.download}`);
    this.after.alt = `${this.name} after`;
    this.link.hidden = this.slider.hidden = false;
    const lost = headers.get("x-not-kept");
    this.say(lost ? `Done. Not kept: ${lost}.` : "Done.");
  }
}

function enqueue(photograph) {
  if (photograph.waits) return;
  photograph.waits = true;
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
