// Blind rating in the manner of MUSHRA (ITU-R BS.1534): an open reference; hidden among the sounds are the reference
// itself and, if wanted, a low anchor. Which is which lives in this closure alone until the ratings are given.

const WORDS = ["Bad", "Poor", "Fair", "Good", "Excellent"]; // fifths of the scale

class Rating {
  constructor(stage) {
    this.stage = stage;
    this.finished = new Map(); // excerpt -> record
    this.part = parts("rate", ["setup", "run", "result", "anchor", "start", "reference", "list", "finish", "stop",
      "missing", "found", "save", "again", "progress", "note", "levels"]);
    this.part.start.addEventListener("click", () => this.#start());
    this.part.reference.addEventListener("click", () => this.listen(-1, true));
    this.part.finish.addEventListener("click", () => this.#finish());
    for (const button of [this.part.stop, this.part.again]) {
      button.addEventListener("click", () => {
        this.open();
        this.part.start.focus(); // the button is gone
      });
    }
    this.part.save.addEventListener("click", () => save("ratings", this.#record()));
  }

  get running() {
    return !this.part.run.hidden;
  }

  open() {
    const count = page.excerpts.length;
    this.part.progress.textContent =
      this.finished.size === 0 ? "" : `${this.finished.size} of ${count} ${count === 1 ? "excerpt" : "excerpts"} rated.`;
    const anchored = this.stage.excerpt.sounds.some((sound) => sound.role === "anchor");
    this.part.anchor.closest("label").hidden = !anchored;
    this.part.anchor.checked &&= anchored;
    const apart = unmatched(this.stage.excerpt.sounds);
    this.part.levels.textContent =
      apart.length === 0 ? "Levels are matched." : `Levels are matched, but for ${apart.length} of the takes.`;
    this.#show("setup");
    this.stage.hear(0, "Reference");
  }

  #show(name) {
    for (const view of ["setup", "run", "result"]) this.part[view].hidden = view !== name;
    this.stage.lock(name === "run");
  }

  #start() {
    const { sounds } = this.stage.excerpt;
    const wanted = sounds.map((sound, index) => ({ sound, index }));
    const hidden = shuffled(wanted.filter(({ sound }) => sound.role !== "anchor" || this.part.anchor.checked));
    this.stimuli = hidden.map(({ sound, index }, place) => ({ sound, index, label: labelOf(place), rating: null }));
    this.began = new Date();
    this.part.list.replaceChildren(...this.stimuli.map((stimulus, place) => this.#row(stimulus, place)));
    this.#show("run");
    this.#count();
    this.listen(-1);
    this.part.reference.focus();
    say(`${this.stimuli.length} sounds to rate`);
  }

  #row(stimulus, place) {
    const row = document.getElementById("rate-row").content.firstElementChild.cloneNode(true);
    const [button, slider, output] = ["button", "input", "output"].map((tag) => row.querySelector(tag));
    button.textContent = stimulus.label;
    button.setAttribute("aria-label", `Play sound ${stimulus.label}`);
    button.addEventListener("click", () => this.listen(place, true));
    slider.setAttribute("aria-label", `Rating of sound ${stimulus.label}`);
    slider.setAttribute("aria-valuetext", "not rated");
    const rate = () => {
      stimulus.rating = Number(slider.value);
      output.textContent = `${stimulus.rating} ${wordOf(stimulus.rating)}`;
      slider.setAttribute("aria-valuetext", `${stimulus.rating}, ${wordOf(stimulus.rating)}`);
      row.classList.add("rated");
      this.#count();
    };
    slider.addEventListener("input", rate);
    slider.addEventListener("change", rate);
    // A press counts as a rating even where the value stays. Who moves a slider wants to hear that sound.
    slider.addEventListener("pointerdown", () => this.listen(place));
    slider.addEventListener("pointerup", rate);
    slider.addEventListener("focus", () => this.listen(place));
    return row;
  }

  // Let a sound through by its place in the list, -1 for the open reference; `play` also where nothing plays.
  listen(place, play) {
    if (!this.running || place >= this.stimuli.length) return;
    const stimulus = this.stimuli[place];
    this.stage.hear(stimulus ? stimulus.index : 0, stimulus ? `Sound ${stimulus.label}` : "Reference");
    this.part.reference.setAttribute("aria-pressed", String(place === -1));
    [...this.part.list.children].forEach((row, index) => {
      row.querySelector("button").setAttribute("aria-pressed", String(index === place));
    });
    if (play) this.stage.play();
  }

  #count() {
    const left = this.stimuli.filter((stimulus) => stimulus.rating === null).length;
    this.part.finish.disabled = left > 0;
    this.part.missing.textContent = left > 0 ? `${left} still to rate` : "All rated";
  }

  #finish() {
    const { excerpt } = this.stage;
    this.finished.set(excerpt, {
      excerpt: excerpt.name,
      level_matched: unmatched(this.stimuli.map(({ sound }) => sound)).length === 0,
      began: this.began.toISOString(),
      ratings: this.stimuli.map(({ sound, label, rating }) => ({
        sound: label,
        system: sound.system,
        role: sound.role === "original" ? "hidden reference" : sound.role,
        rating,
      })),
    });
    const byRating = [...this.stimuli].sort((a, b) => b.rating - a.rating);
    this.part.found.replaceChildren(...byRating.map(resultRow));
    const reference = this.stimuli.find(({ sound }) => sound.role === "original").rating;
    this.part.note.textContent =
      reference >= 90
        ? `The hidden reference got ${reference}.`
        : `The hidden reference got ${reference}. Below 90 it was missed; where that happens often, ` +
          "ITU-R BS.1534 leaves a listener's ratings out.";
    this.#show("result");
    this.part.found.closest("table").focus();
    say("The sounds' names are shown");
  }

  #record() {
    return {
      kind: "blind rating",
      page: page.title,
      scale: [0, 100],
      words: WORDS,
      seeded,
      excerpts: [...this.finished.values()],
    };
  }
}

function labelOf(place) {
  return place < 26 ? String.fromCharCode(65 + place) : `${labelOf(Math.floor(place / 26) - 1)}${labelOf(place % 26)}`;
}

function wordOf(rating) {
  return WORDS[Math.min(Math.floor(rating / 20), 4)];
}

function resultRow({ sound, label, rating }) {
  const row = document.createElement("tr");
  const role = { original: "hidden reference", anchor: "anchor", control: "control", system: "" }[sound.role];
  for (const text of [label, sound.system, role, String(rating)]) {
    const cell = document.createElement("td");
    cell.textContent = text;
    row.append(cell);
  }
  return row;
}
