// Moves the border between the two pictures of each .comparison: by its slider, or by
// dragging over the pictures.
document.addEventListener("input", ({ target }) => {
  const after = target.closest(".comparison")?.querySelector("img + img");
  if (after) after.style.clipPath = `inset(0 0 0 ${target.value}%)`;
});
for (const kind of ["pointerdown", "pointermove"])
  document.addEventListener(kind, (event) => {
    const pictures = event.target.closest?.(".comparison div");
    if (!pictures || !event.buttons) return;
    const { left, width } = pictures.getBoundingClientRect();
    const slider = pictures.parentElement.querySelector("input");
    slider.value = (100 * (event.clientX - left)) / width;
    slider.dispatchEvent(new Event("input", { bubbles: true }));
  });
document.addEventListener("dragstart", (event) => {
  if (event.target.closest?.(".comparison div")) event.preventDefault();
});
