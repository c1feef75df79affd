// The player: shows the steps of a recording at the pace they happened. Steps come as HTML, made and escaped by the server, page by page.
"use strict";

(() => {
  const player = document.getElementById("player");
  const list = document.getElementById("steps");
  if (!player || !list) {
    return;
  }
  const get = (id) => document.getElementById(id);
  const play = get("play"), pace = get("pace"), skip = get("skip"), clock = get("clock");
  const LONGEST_PAUSE = 2; // seconds, when long pauses are skipped
  let timer = 0;
  let shown = 0; // how many scenes are visible
  let fetching = null;

  const scenes = () => list.querySelectorAll("li.scene");
  const at = (scene) => Number(scene.dataset.at) || 0;

  function reveal(scene, follow) {
    scene.hidden = false;
    clock.textContent = at(scene).toFixed(1) + " s";
    if (follow) {
      scene.scrollIntoView({ block: "nearest" });
    }
  }

  // One more page, or null when there is none.
  function more() {
    const marker = list.querySelector("li.following");
    if (!marker || !marker.dataset.next) {
      return Promise.resolve(false);
    }
    if (!fetching) {
      fetching = fetch(player.dataset.steps + "?from=" + encodeURIComponent(marker.dataset.next), { credentials: "same-origin" })
        .then((response) => (response.ok ? response.text() : Promise.reject(new Error(String(response.status)))))
        .then((text) => {
          const page = document.createElement("template");
          page.innerHTML = text;
          page.content.querySelectorAll("li.scene").forEach((scene) => { scene.hidden = true; });
          marker.remove();
          list.append(page.content);
          return true;
        })
        .catch(() => { clock.textContent = "The next page could not be loaded."; return false; })
        .finally(() => { fetching = null; });
    }
    return fetching;
  }

  async function scene(index) {
    while (index >= scenes().length) {
      if (!(await more())) {
        return null;
      }
    }
    return scenes()[index];
  }

  function stop() {
    clearTimeout(timer);
    timer = 0;
    play.textContent = "Play";
    play.setAttribute("aria-pressed", "false");
  }

  async function step() {
    const next = await scene(shown);
    if (!next) {
      stop();
      return false;
    }
    reveal(next, true);
    shown += 1;
    return true;
  }

  async function run() {
    if (!(await step()) || !timer) {
      return;
    }
    const [last, next] = [scenes()[shown - 1], await scene(shown)];
    if (!next) {
      stop();
      return;
    }
    let pause = Math.max(at(next) - at(last), 0) / Number(pace.value);
    if (skip.checked) {
      pause = Math.min(pause, LONGEST_PAUSE);
    }
    if (timer) {
      timer = setTimeout(run, pause * 1000);
    }
  }

  play.addEventListener("click", () => {
    if (timer) {
      stop();
      return;
    }
    play.textContent = "Pause";
    play.setAttribute("aria-pressed", "true");
    timer = setTimeout(run, 0);
  });

  get("step").addEventListener("click", () => { stop(); step(); });

  get("refusal").addEventListener("click", async () => {
    stop();
    list.setAttribute("aria-busy", "true");
    let found = null;
    while (!found) {
      const next = await scene(shown);
      if (!next) {
        break;
      }
      reveal(next, false);
      shown += 1;
      found = next.classList.contains("refused") ? next : null;
    }
    list.removeAttribute("aria-busy");
    if (found) {
      found.tabIndex = -1;
      found.scrollIntoView({ block: "center" });
      found.focus({ preventScroll: true });
    } else {
      clock.textContent = "No further refusal.";
    }
  });

  get("all").addEventListener("click", async () => {
    stop();
    // What is loaded, and one page more: a large recording is never loaded whole.
    if (shown >= scenes().length) {
      await more();
    }
    for (const one of scenes()) {
      one.hidden = false;
    }
    shown = scenes().length;
    const last = scenes()[shown - 1];
    if (last) {
      clock.textContent = at(last).toFixed(1) + " s";
    }
  });

  list.addEventListener("keydown", (event) => {
    if (event.target === list && event.key === " ") {
      event.preventDefault();
      play.click();
    }
  });

  for (const one of scenes()) {
    one.hidden = true;
  }
  get("more").hidden = true;
  player.hidden = false;
  step();
})();
