"use strict";

// Jumps from one refusal, approval or masked result to the next, and round.
(() => {
  const clock = document.getElementById("clock");
  const places = new Map();
  for (const button of document.querySelectorAll("[data-jump]")) {
    const scenes = [...document.querySelectorAll("li.scene." + button.dataset.jump)];
    button.textContent += " (" + scenes.length + ")";
    button.disabled = scenes.length === 0;
    button.addEventListener("click", () => {
      const place = ((places.get(button) ?? -1) + 1) % scenes.length;
      places.set(button, place);
      const scene = scenes[place];
      document.querySelectorAll(".scene.here").forEach((other) => other.classList.remove("here"));
      scene.classList.add("here");
      scene.tabIndex = -1;
      scene.scrollIntoView({ block: "center" });
      scene.focus({ preventScroll: true });
      clock.textContent = place + 1 + " of " + scenes.length + ", " + Number(scene.dataset.at).toFixed(1) + " s";
    });
  }
  document.getElementById("jumps").hidden = false;
})();
