// ABX: A and B are known, X is one of them. What X is lives in this closure alone until the answer is given.

class Abx {
  constructor(stage) {
    this.stage = stage;
    this.part = parts("abx", ["setup", "run", "result", "a", "b", "trials", "tell", "start", "progress", "dots",
      "is-a", "is-b", "stop", "verdict", "meaning", "answers", "save", "again", "feedback", "name-a", "name-b", "levels"]);
    this.pads = [...document.querySelectorAll("[data-pad]")];
    this.part.start.addEventListener("click", () => this.#start());
    this.part["is-a"].addEventListener("click", () => this.answer("a"));
    this.part["is-b"].addEventListener("click", () => this.answer("b"));
    this.part.stop.addEventListener("click", () => this.#finish());
    this.part.again.addEventListener("click", () => this.#reopen());
    this.part.save.addEventListener("click", () => save("abx", this.#record()));
    for (const pad of this.pads) pad.addEventListener("click", () => this.listen(pad.dataset.pad, true));
    for (const select of [this.part.a, this.part.b]) select.addEventListener("change", () => this.#check());
  }

  get running() {
    return !this.part.run.hidden;
  }

  // Offer the choice of two sounds of the stage's excerpt.
  open() {
    const { sounds } = this.stage.excerpt;
    const chosen = [this.part.a.value || "0", this.part.b.value || "1"];
    [this.part.a, this.part.b].forEach((select, which) => {
      const options = sounds.flatMap((sound, index) => (sound.role === "anchor" ? [] : [new Option(sound.system, index)]));
      select.replaceChildren(...options);
      select.value = chosen[which] < options.length ? chosen[which] : String(which);
    });
    this.#check();
    this.#show("setup");
    this.stage.hear(0, "Original");
  }

  // The same, for a button that goes away: the keyboard's focus goes on from here.
  #reopen() {
    this.open();
    (this.part.start.disabled ? this.part.a : this.part.start).focus();
  }

  #check() {
    this.part.start.disabled = this.part.a.value === this.part.b.value;
    const apart = unmatched([this.part.a, this.part.b].map((select) => this.stage.excerpt.sounds[select.value]));
    this.part.levels.textContent = apart.length === 0 ? "Levels are matched." : `${apart.join("; ")}.`;
  }

  #show(name) {
    for (const view of ["setup", "run", "result"]) this.part[view].hidden = view !== name;
    this.stage.lock(name === "run");
  }

  #start() {
    const trials = Number(this.part.trials.value);
    const { a, b } = this.part;
    this.test = {
      excerpt: this.stage.excerpt,
      index: { a: Number(a.value), b: Number(b.value) },
      matched: unmatched([a, b].map((select) => this.stage.excerpt.sounds[select.value])).length === 0,
      name: { a: a.selectedOptions[0].text, b: b.selectedOptions[0].text },
      planned: trials,
      tell: this.part.tell.checked,
      hidden: Array.from({ length: trials }, () => (random() < 0.5 ? "a" : "b")),
      trials: [],
      began: new Date(),
    };
    this.part["name-a"].textContent = this.test.name.a;
    this.part["name-b"].textContent = this.test.name.b;
    this.part.feedback.textContent = "";
    this.#show("run");
    this.#next();
    this.pads[0].focus();
  }

  #next() {
    const { trials, planned } = this.test;
    this.part.progress.textContent = `Trial ${trials.length + 1} of ${planned}`;
    this.part.dots.replaceChildren(...this.#dots(this.test.tell));
    this.heard = false;
    this.trialBegan = performance.now();
    this.listen("a");
    say(`${this.part.feedback.textContent} Trial ${trials.length + 1} of ${planned}`);
  }

  // Let A, B or X through; `play` also where nothing plays.
  listen(which, play) {
    if (!this.running) return;
    const { index, hidden, trials } = this.test;
    this.heard ||= which === "x";
    this.stage.hear(index[which === "x" ? hidden[trials.length] : which], which.toUpperCase());
    for (const pad of this.pads) pad.setAttribute("aria-pressed", String(pad.dataset.pad === which));
    this.part["is-a"].disabled = this.part["is-b"].disabled = !this.heard;
    if (play) this.stage.play();
  }

  answer(which) {
    if (!this.running || !this.heard) return;
    const { hidden, trials, planned, tell } = this.test;
    const x = hidden[trials.length];
    const seconds = Math.round((performance.now() - this.trialBegan) / 100) / 10;
    trials.push({ x, answer: which, correct: x === which, seconds });
    if (tell) this.part.feedback.textContent = x === which ? "Right." : `Wrong: X was ${x.toUpperCase()}.`;
    const pressed = [this.part["is-a"], this.part["is-b"]].includes(document.activeElement);
    if (trials.length === planned) this.#finish();
    else this.#next();
    if (pressed && this.running) this.pads[0].focus(); // the answers are disabled until X was heard
  }

  #finish() {
    const { trials, planned, name, tell } = this.test;
    if (trials.length === 0) {
      this.#reopen();
      return;
    }
    const { correct, p_value: p } = this.#record();
    this.part.verdict.textContent = `${correct} of ${trials.length} right`;
    const sure = p < 0.05 ? "so you very likely hear a difference" : "so this shows no audible difference";
    const early = trials.length < planned ? " The test was stopped early, so read this with care." : "";
    const drawn = seeded ? " What X was followed from #seed in the address: this proves nothing to others." : "";
    const trained = tell ? " You were told after each answer." : "";
    this.part.meaning.textContent =
      `Between ${name.a} and ${name.b}. Guessing reaches this or better with a probability of ` +
      `p = ${p < 0.0001 ? p.toExponential(1) : p.toFixed(4)} (exact binomial test), ${sure}.${early}${trained}${drawn}`;
    this.part.answers.replaceChildren(...this.#dots(true));
    this.#show("result");
    this.part.verdict.focus();
    say(this.part.verdict.textContent);
  }

  // One mark a trial: open, answered, right or wrong, in shape and in words.
  #dots(tell) {
    const { trials, planned } = this.test;
    return Array.from({ length: planned }, (_, index) => {
      const dot = document.createElement("li");
      const trial = trials[index];
      const word = !trial ? "open" : !tell ? "answered" : trial.correct ? "right" : "wrong";
      dot.className = word;
      dot.title = `Trial ${index + 1}: ${word}`;
      const text = document.createElement("span");
      text.className = "unseen";
      text.textContent = dot.title;
      dot.append(text);
      return dot;
    });
  }

  #record() {
    const { excerpt, name, matched, planned, tell, trials, began } = this.test;
    const correct = trials.filter((trial) => trial.correct).length;
    return {
      kind: "abx",
      page: page.title,
      excerpt: excerpt.name,
      a: name.a,
      b: name.b,
      planned,
      trials,
      count: trials.length,
      correct,
      p_value: guessing(correct, trials.length),
      test: "exact binomial, one-sided, against 1/2",
      level_matched: matched,
      told_after_each: tell,
      seeded,
      began: began.toISOString(),
    };
  }
}
