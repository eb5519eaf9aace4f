// One photograph after another: the rater ranks its results. `ranking` holds their places
// as shown, the best first.
const element = (id) => document.getElementById(id);
const letter = (shown) => String.fromCharCode(65 + shown);
const zoom = { scale: 1, x: 0, y: 0 };
let rankings = [], numResults = 0, place = 0, ranking = [], undone = [], isSaving = false;

// The ranking

function change(next, focused) {
  undone.push(ranking);
  ranking = next;
  draw(focused);
}

function put(shown, rank) {
  const next = ranking.filter((other) => other !== shown);
  next.splice(Math.max(0, rank), 0, shown);
  change(next, shown);
  say(`${letter(shown)} has rank ${ranking.indexOf(shown) + 1}.`);
}

function takeOut(shown) {
  if (!ranking.includes(shown)) return;
  change(ranking.filter((other) => other !== shown), shown);
  say(`${letter(shown)} has no rank.`);
}

function undo() {
  if (!undone.length) return;
  ranking = undone.pop();
  draw();
  say("Undone.");
}

function say(text) {
  element("status").textContent = text;
}

function handle(shown, text) {
  const button = document.createElement("button");
  Object.assign(button, { type: "button", className: "handle", textContent: text });
  button.dataset.shown = shown;
  button.setAttribute("aria-label", `Result ${text}`);
  return button;
}

function draw(focused) {
  element("ranking").replaceChildren(...ranking.map((shown, i) => {
    const item = document.createElement("li");
    item.append(handle(shown, `${i + 1}: ${letter(shown)}`));
    return item;
  }));
  for (const button of element("results").querySelectorAll(".handle")) {
    const rank = ranking.indexOf(Number(button.dataset.shown)) + 1;
    button.textContent = letter(Number(button.dataset.shown)) + (rank ? `: rank ${rank}` : "");
    button.setAttribute("aria-label", `Result ${button.textContent}`);
  }
  element("save").disabled = ranking.length < numResults;
  element("undo").disabled = !undone.length;
  element("back").disabled = place === 0;
  if (focused !== undefined)
    document.querySelector(`#results [data-shown="${focused}"]`)?.focus({ preventScroll: true });
}

// The photographs

function view(source, alt) {
  const box = document.createElement("div"), image = new Image();
  box.className = "view";
  Object.assign(image, { src: source, alt });
  image.onerror = () => say("A picture is missing; load the page again.");
  box.append(image);
  return box;
}

function open(next) {
  place = next;
  ranking = rankings[place] ?? [];
  undone = [];
  const title = `Photograph ${place + 1} of ${rankings.length}`;
  const cards = [...Array(numResults).keys()].map((shown) => {
    const card = document.createElement("li");
    card.append(handle(shown, letter(shown)), view(`tasks/${place}/${shown}.png`, `result ${letter(shown)}`));
    return card;
  });
  const input = document.createElement("li"), name = document.createElement("p");
  name.textContent = "Rainy photograph";
  input.append(name, view(`tasks/${place}/input.png`, "rainy photograph"));
  element("results").replaceChildren(input, ...cards);
  element("title").textContent = document.title = title;
  zoomBy(0);
  draw();
}

async function save() {
  if (isSaving || ranking.length < numResults) return say("Rank every result first.");
  isSaving = true;
  try {
    const answer = await fetch(`tasks/${place}/ranking`, { method: "PUT", body: JSON.stringify(ranking) });
    if (!answer.ok) return say((await answer.json()).error);
    rankings[place] = ranking;
    const missing = rankings.findIndex((one) => !one);
    if (place + 1 < rankings.length) open(rankings[place + 1] && missing >= 0 ? missing : place + 1);
    else if (missing >= 0) open(missing);
    say(missing < 0 ? "All photographs are ranked. Thank you!" : "Saved.");
    element("title").focus();
  } catch {
    say("Not saved: the server does not answer. Try again.");
  } finally {
    isSaving = false;
  }
}

// Zoom, the same in every picture; x and y are shares of a picture's width and height.

function applyZoom() {
  for (const axis of ["x", "y"])
    zoom[axis] = Math.min(0, Math.max(1 - zoom.scale, zoom[axis]));
  document.body.classList.toggle("zoomed", zoom.scale > 1); // a touch scrolls the page else
  for (const image of document.querySelectorAll(".view img"))
    image.style.transform = `translate(${100 * zoom.x}%, ${100 * zoom.y}%) scale(${zoom.scale})`;
}

function pan(x, y) {
  zoom.x += x;
  zoom.y += y;
  applyZoom();
}

function zoomBy(factor, x = 0.5, y = 0.5) {
  const scale = Math.min(16, Math.max(1, zoom.scale * factor));
  zoom.x = x - ((x - zoom.x) * scale) / zoom.scale;
  zoom.y = y - ((y - zoom.y) * scale) / zoom.scale;
  zoom.scale = scale;
  applyZoom();
}

element("results").addEventListener("wheel", (event) => {
  const box = event.target.closest(".view")?.getBoundingClientRect();
  if (!box) return;
  event.preventDefault();
  zoomBy(event.deltaY < 0 ? 1.25 : 0.8, (event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height);
}, { passive: false });

// Dragging: a letter into the ranking, or a zoomed picture

let dragged = null;

document.addEventListener("pointerdown", ({ target, button, clientX: x, clientY: y }) => {
  const letters = target.closest(".handle"), box = target.closest(".view");
  if (button === 0 && (letters || box)) dragged = { letters, box, x, y };
});
document.addEventListener("pointermove", (event) => {
  if (!dragged?.box) return;
  const { clientWidth: width, clientHeight: height } = dragged.box;
  pan((event.clientX - dragged.x) / width, (event.clientY - dragged.y) / height);
  [dragged.x, dragged.y] = [event.clientX, event.clientY];
});
document.addEventListener("pointercancel", () => (dragged = null));
document.addEventListener("pointerup", ({ clientX, clientY }) => {
  const from = dragged;
  dragged = null;
  if (!from?.letters) return;
  const moved = Math.hypot(clientX - from.x, clientY - from.y) > 8;
  const under = document.elementFromPoint(clientX, clientY);
  const shown = Number(from.letters.dataset.shown);
  if (moved && !under?.closest("#ranking")) return;
  if (!moved && ranking.includes(shown)) return; // only focused
  const rank = [...element("ranking").children].indexOf(under.closest("#ranking li"));
  put(shown, moved && rank >= 0 ? rank : ranking.length);
});

// Keys

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const actions = {
    "+": () => zoomBy(1.25), "-": () => zoomBy(0.8), z: undo, Z: undo,
    0: () => zoomBy(0),
  };
  const focused = document.activeElement.closest(".handle");
  if (focused) {
    const shown = Number(focused.dataset.shown), rank = ranking.indexOf(shown);
    for (let i = 1; i <= Math.min(9, numResults); i++) actions[i] = () => put(shown, i - 1);
    const last = ranking.length, first = () => put(shown, rank < 0 ? last : rank - 1);
    const later = () => put(shown, rank < 0 ? last : rank + 1);
    Object.assign(actions, {
      ArrowLeft: first, ArrowUp: first, ArrowRight: later, ArrowDown: later,
      Enter: () => rank < 0 && put(shown, last), " ": () => rank < 0 && put(shown, last),
      Delete: () => takeOut(shown), Backspace: () => takeOut(shown),
    });
  } else if (zoom.scale > 1) {
    Object.assign(actions, {
      ArrowLeft: () => pan(0.1, 0), ArrowRight: () => pan(-0.1, 0),
      ArrowUp: () => pan(0, 0.1), ArrowDown: () => pan(0, -0.1),
    });
  }
  if (!actions[event.key]) return;
  event.preventDefault();
  actions[event.key]();
});

element("in").onclick = () => zoomBy(1.25);
element("out").onclick = () => zoomBy(0.8);
element("whole").onclick = () => zoomBy(0);
element("undo").onclick = undo;
element("back").onclick = () => open(place - 1);
element("save").onclick = save;

fetch("rankings").then((answer) => answer.json()).then((state) => {
  if (state.error) return say(state.error);
  ({ rankings, num_results: numResults } = state);
  const missing = rankings.findIndex((one) => !one);
  open(Math.max(0, missing));
  if (missing < 0) say("All photographs are ranked. Thank you!");
}).catch(() => say("The server does not answer; load the page again."));
