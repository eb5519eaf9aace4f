// One photograph after another: the rater ranks its results. `ranking` holds their places
// as shown, the best first.
const element = (id) => document.getElementById(id);
const make = (tag, className = "", textContent = "") =>
  Object.assign(document.createElement(tag), { className, textContent });
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

function handle(shown) {
  const button = make("button", "handle", letter(shown)), rank = ranking.indexOf(shown) + 1;
  button.type = "button";
  button.dataset.shown = shown;
  button.ariaLabel = `Result ${letter(shown)}, ${rank ? `rank ${rank}` : "no rank"}`;
  return button;
}

function slot(rank) {
  const item = make("li"), taken = rank < ranking.length;
  const name = rank === 0 ? "best" : rank === numResults - 1 ? "worst" : rank + 1;
  item.append(taken ? handle(ranking[rank]) : make("div", "free"), name);
  return item;
}

function draw(focused) {
  element("ranking").replaceChildren(...Array.from({ length: numResults }, (_, i) => slot(i)));
  for (const label of element("results").querySelectorAll("[data-label]")) {
    const shown = Number(label.dataset.label), rank = ranking.indexOf(shown) + 1;
    label.replaceChildren(handle(shown), make("span", "", rank ? `rank ${rank}` : ""));
  }
  element("save").disabled = ranking.length < numResults;
  element("undo").disabled = !undone.length;
  element("back").disabled = place === 0;
  if (focused !== undefined)
    document.querySelector(`#results [data-shown="${focused}"]`)?.focus({ preventScroll: true });
}

// The photographs

function view(source, alt) {
  const box = make("div", "view"), image = new Image();
  Object.assign(image, { src: source, alt });
  image.onerror = () => say("A picture is missing; load the page again.");
  box.append(image);
  return box;
}

function card(picture) {
  const item = make("li", "card");
  item.append(picture, make("div", "label"));
  return item;
}

function open(next) {
  place = next;
  ranking = rankings[place] ?? [];
  undone = [];
  const title = `Photograph ${place + 1} of ${rankings.length}`;
  const input = card(view(`tasks/${place}/input.png`, "before"));
  input.lastChild.append(make("span", "", "Rainy photograph"));
  const results = Array.from({ length: numResults }, (_, shown) => {
    const result = card(view(`tasks/${place}/${shown}.png`, `result ${letter(shown)}`));
    result.lastChild.dataset.label = shown;
    return result;
  });
  element("results").replaceChildren(input, ...results);
  element("title").textContent = document.title = title;
  element("help").open = place === 0;
  zoomBy(0);
  draw();
}

function thank() {
  element("title").textContent = `${document.title}. Thank you! All photographs are ranked.`;
  say("You may close the page, or change rankings.");
}

async function save() {
  if (isSaving) return;
  if (ranking.length < numResults) return say("Rank every result first.");
  const sent = ranking, at = place; // the rater may go on before the answer
  isSaving = true;
  try {
    const answer = await fetch(`tasks/${at}/ranking`, { method: "PUT", body: JSON.stringify(sent) });
    if (!answer.ok) return say((await answer.json()).error);
    rankings[at] = sent;
    if (place !== at) return say(`Photograph ${at + 1} is saved.`);
    if (ranking !== sent) return say("Saved without your last change; save again.");
    const missing = rankings.findIndex((one) => !one);
    if (place + 1 < rankings.length) open(rankings[place + 1] && missing >= 0 ? missing : place + 1);
    else if (missing >= 0) open(missing);
    missing < 0 ? thank() : say("Saved.");
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

function release() {
  dragged?.ghost?.remove();
  dragged = null;
  document.body.classList.remove("dragging");
}

document.addEventListener("pointerdown", ({ target, button, clientX: x, clientY: y }) => {
  const letters = target.closest(".handle"), box = target.closest(".view");
  if (button === 0 && (letters || box)) dragged = { letters, box, x, y };
});
document.addEventListener("pointermove", ({ clientX, clientY }) => {
  if (!dragged) return;
  const { letters, box, x, y } = dragged;
  if (box) {
    pan((clientX - x) / box.clientWidth, (clientY - y) / box.clientHeight);
    [dragged.x, dragged.y] = [clientX, clientY];
  } else if (dragged.ghost || Math.hypot(clientX - x, clientY - y) > 8) {
    if (!dragged.ghost) {
      dragged.ghost = letters.cloneNode(true);
      dragged.ghost.classList.add("ghost");
      document.body.append(dragged.ghost);
      document.body.classList.add("dragging");
    }
    Object.assign(dragged.ghost.style, { left: `${clientX}px`, top: `${clientY}px` });
  }
});
document.addEventListener("pointercancel", release);
document.addEventListener("pointerup", ({ clientX, clientY }) => {
  if (!dragged) return;
  const { letters, ghost } = dragged;
  release();
  if (!letters) return;
  const under = document.elementFromPoint(clientX, clientY);
  const shown = Number(letters.dataset.shown);
  if (ghost && !under?.closest("#ranking")) return;
  if (!ghost && ranking.includes(shown)) return; // only focused
  const rank = [...element("ranking").children].indexOf(under.closest("#ranking li"));
  put(shown, ghost && rank >= 0 ? rank : ranking.length);
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
  open(missing < 0 ? rankings.length - 1 : missing);
  if (missing < 0) thank();
}).catch(() => say("The server does not answer; load the page again."));
