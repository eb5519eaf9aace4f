// Moves the border between the two pictures of a .comparison to the value of its slider.
document.addEventListener("input", ({ target }) => {
  if (!target.closest(".comparison")) return;
  target.parentElement.style.setProperty("--share", `${target.value}%`);
  target.ariaValueText = `${Math.round(target.value)} % before`;
});
