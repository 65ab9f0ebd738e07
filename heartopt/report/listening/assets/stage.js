// The stage: which excerpt, which sound, which mode; and everything that is not worth a part of its own.

function parts(prefix, names) {
  return Object.fromEntries(names.map((name) => [name, document.getElementById(`${prefix}-${name}`)]));
}

// Tell screen readers.
function say(text) {
  document.getElementById("status").textContent = text.trim();
}

// Not by `autofocus`: browsers look for that while the page loads, and complain where a key was quicker.
function openHelp() {
  document.getElementById("help").showModal();
  document.getElementById("help-close").focus();
}

// Give an object to the user as a JSON file.
function save(kind, record) {
  const stem = page.title.toLowerCase().replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-|-$/g, "").slice(0, 60) || "page";
  const address = URL.createObjectURL(new Blob([`${JSON.stringify(record, null, 2)}\n`], { type: "application/json" }));
  const link = document.createElement("a");
  link.href = address;
  link.download = `${kind}-${stem}.json`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}

class Stage {
  constructor() {
    this.mode = "compare";
    this.matched = true;
    this.difference = false;
    this.part = parts("stage", ["shown", "play", "repeat", "start", "end", "clear", "match", "difference", "error"]);
    this.player = new Player(page.rate, () => this.refresh());
    this.screen = new Screen(this.player);
    this.abx = new Abx(this);
    this.rating = new Rating(this);
    this.#listen();
    this.#nameTheme();
    this.open(0);
  }

  get blind() {
    return this.mode !== "compare";
  }

  // Take another excerpt.
  open(index) {
    this.excerpt = page.excerpts[index];
    this.part.error.hidden = true;
    for (const group of document.querySelectorAll("[data-takes]")) group.hidden = group.dataset.takes !== String(index);
    this.player.load(decodeSounds(this.excerpt.sounds), this.#levels(), this.excerpt.samples);
    this.screen.open(this.excerpt);
    this.filterRows();
    this.enter(this.mode);
  }

  enter(mode) {
    this.mode = mode;
    document.body.dataset.mode = mode;
    for (const name of ["compare", "abx", "rate"]) document.getElementById(name).hidden = name !== mode;
    this.player.setLevels(this.#levels());
    if (mode === "abx") this.abx.open();
    else if (mode === "rate") this.rating.open();
    else this.choose(this.player.current < this.#takes().length ? this.player.current : 0);
  }

  // Blind tests keep to one excerpt while they run.
  lock(locked) {
    for (const id of ["modes", "excerpts"]) document.getElementById(id).disabled = locked;
  }

  // Hear a sound openly.
  choose(index) {
    const sound = this.excerpt.sounds[index];
    this.hear(index, sound.system);
    this.#takes().forEach((take, number) => take.setAttribute("aria-pressed", String(number === index)));
    for (const row of document.querySelectorAll("#table tbody tr")) {
      const [excerpt, number] = [row.dataset.excerpt, row.dataset.number].map(Number);
      row.classList.toggle("heard", page.excerpts[excerpt] === this.excerpt && number === index);
    }
    say(sound.tier ? `${sound.system}, ${sound.tier}` : sound.system);
  }

  // Let a sound through under the name that may be shown. Blind, the screen stays with the original's outline.
  hear(index, name) {
    this.player.select(index);
    this.part.shown.textContent = name;
    this.screen.show(this.blind ? 0 : index, !this.blind && this.difference);
  }

  filterRows() {
    const only = Boolean(document.getElementById("table-only")?.checked);
    document.getElementById("table").classList.toggle("one", only);
    for (const row of document.querySelectorAll("#table tbody tr")) {
      row.hidden = only && page.excerpts[row.dataset.excerpt] !== this.excerpt;
    }
  }

  async toggle() {
    if (this.player.playing) this.player.stop();
    else await this.play();
    say(this.player.playing ? `Playing ${this.part.shown.textContent}` : "Paused");
  }

  async play() {
    try {
      await this.player.play();
      this.part.error.hidden = true;
    } catch (error) {
      this.part.error.textContent = `This browser cannot play the page's sounds: ${error.message}`;
      this.part.error.hidden = false;
    }
  }

  // A key; whether it meant something.
  key(key, { shift, onScreen }) {
    const digit = /^[1-9]$/.test(key) ? Number(key) - 1 : -1;
    const { player, abx, rating } = this;
    if (digit >= 0 && this.mode === "compare" && digit < this.#takes().length) this.choose(digit);
    else if (digit >= 0 && digit < 3 && abx.running) abx.listen(["a", "x", "b"][digit], true);
    else if (digit >= 0 && rating.running) rating.listen(digit, true);
    else if (key === "0" && rating.running) rating.listen(-1, true);
    else if (["a", "b"].includes(key) && abx.running) abx.answer(key);
    else if (key === "x" && abx.running) abx.listen("x", true);
    else if (key === "space") this.toggle();
    else if (key === "l") this.part.repeat.click();
    else if (key === "i" || key === "[") this.part.start.click();
    else if (key === "o" || key === "]") this.part.end.click();
    else if (key === "Escape" && !player.whole) this.part.clear.click();
    else if (key === "d" && !this.blind) this.part.difference.click();
    else if (key === "ArrowLeft" || (onScreen && key === "ArrowDown")) this.#step(shift ? -0.1 : -SEEK);
    else if (key === "ArrowRight" || (onScreen && key === "ArrowUp")) this.#step(shift ? 0.1 : SEEK);
    else if (key === "Home" && onScreen) player.seek(player.region.start);
    else if (key === "End" && onScreen) player.seek(player.region.end);
    else if (key === "?") openHelp();
    else return false;
    return true;
  }

  // Bring everything that shows the player's state up to date.
  refresh() {
    const { player, part } = this;
    if (!this.screen) return;
    part.play.setAttribute("aria-label", player.playing ? "Pause" : "Play");
    part.play.dataset.playing = String(player.playing);
    part.repeat.setAttribute("aria-pressed", String(player.repeat));
    part.clear.disabled = player.whole;
    this.screen.update();
  }

  // Move inside the loop: beyond its ends, from the other one on.
  #step(seconds) {
    const { start, end } = this.player.region;
    const place = this.player.position() + seconds;
    this.player.seek(place < start ? start : place >= end ? start : place);
  }

  #levels() {
    return levelsOf(this.excerpt, this.matched || this.blind);
  }

  #takes() {
    return [...document.querySelectorAll(`[data-takes="${page.excerpts.indexOf(this.excerpt)}"] [data-take]`)];
  }

  #mark(which) {
    const { player } = this;
    const place = player.position();
    const region = { ...player.region, [which]: place };
    if (region.end - region.start < SHORTEST_LOOP) {
      if (which === "start") region.end = player.seconds;
      else region.start = 0;
    }
    if (region.end - region.start < SHORTEST_LOOP) return;
    player.setRegion(region.start, region.end);
    say(`Loop from ${player.region.start.toFixed(1)} to ${player.region.end.toFixed(1)} seconds`);
  }

  #listen() {
    const { part, player } = this;
    const on = (element, event, action) => element.addEventListener(event, action);
    on(part.play, "click", () => this.toggle());
    on(part.repeat, "click", () => {
      player.setRepeat(!player.repeat);
      say(player.repeat ? "Loop on" : "Loop off");
    });
    on(part.start, "click", () => this.#mark("start"));
    on(part.end, "click", () => this.#mark("end"));
    on(part.clear, "click", () => {
      player.setRegion(0, player.seconds);
      say("Loop over the whole excerpt");
    });
    on(part.match, "change", () => {
      this.matched = part.match.checked;
      player.setLevels(this.#levels());
      say(this.matched ? "Levels matched" : "Levels as they are");
    });
    on(part.difference, "click", () => {
      this.difference = !this.difference;
      part.difference.setAttribute("aria-pressed", String(this.difference));
      document.body.dataset.difference = String(this.difference);
      this.screen.show(player.current, this.difference);
    });
    for (const radio of document.querySelectorAll("#modes input")) on(radio, "change", () => this.enter(radio.value));
    for (const radio of document.querySelectorAll("#excerpts input")) on(radio, "change", () => this.open(Number(radio.value)));
    for (const take of document.querySelectorAll("[data-take]")) {
      on(take, "click", () => this.#chooseAny(Number(take.dataset.excerpt), Number(take.dataset.take)));
    }
    const only = document.getElementById("table-only");
    if (only) on(only, "change", () => this.filterRows());
    on(document.getElementById("theme"), "click", () => this.#turnTheme());
    on(document.getElementById("help-open"), "click", openHelp);
  }

  // A take of any excerpt, as the table names it.
  #chooseAny(excerpt, take) {
    if (page.excerpts[excerpt] !== this.excerpt) {
      document.querySelector(`#excerpts input[value="${excerpt}"]`).checked = true;
      this.open(excerpt);
    }
    this.choose(take);
  }

  #turnTheme() {
    const { dataset } = document.documentElement;
    dataset.theme = dataset.theme === "dark" ? "light" : "dark";
    try {
      localStorage.setItem("listening-theme", dataset.theme);
    } catch {
      // Then it holds until the page is left.
    }
    this.#nameTheme();
    this.screen.paint();
  }

  #nameTheme() {
    const dark = document.documentElement.dataset.theme === "dark";
    document.getElementById("theme").setAttribute("aria-label", `Change to the ${dark ? "light" : "dark"} theme`);
  }
}

sortable(document.getElementById("table"));
listenToKeys(new Stage());
