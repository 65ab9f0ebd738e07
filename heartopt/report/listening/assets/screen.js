// The screen: pictures of the sound that is heard, with playhead and loop; also a slider for the position.

const SHORTEST_LOOP = 0.1; // seconds
const DRAG = 5; // pixels that make a press a drag
const GRIP = 8; // pixels around a loop's end that take hold of it

class Screen {
  constructor(player) {
    this.player = player;
    this.element = document.getElementById("screen");
    this.canvas = { spectrum: document.getElementById("spectrum"), wave: document.getElementById("wave") };
    this.playhead = document.getElementById("playhead");
    this.loop = document.getElementById("loop");
    this.clock = document.getElementById("clock");
    this.greys = [];
    this.shown = { index: 0, difference: false };
    this.told = "";
    for (const mark of this.element.querySelectorAll("[data-height]")) {
      mark.style.bottom = `${100 * mark.dataset.height}%`;
      if (mark.dataset.top) mark.style.height = `${100 * (mark.dataset.top - mark.dataset.height)}%`;
    }
    this.#listen();
  }

  // Show another excerpt's pictures.
  async open(excerpt) {
    this.excerpt = excerpt;
    const greys = await Promise.all(
      excerpt.sounds.map((sound) => (sound.picture ? greysOf(sound.picture) : Promise.resolve(null))),
    );
    if (this.excerpt !== excerpt) return;
    this.greys = greys;
    this.#ruler();
    this.paint();
    this.update();
  }

  // Show a sound's pictures, or its spectrogram's difference from the original's.
  show(index, difference) {
    if (index === this.shown.index && difference === this.shown.difference) return;
    this.shown = { index, difference };
    this.paint();
  }

  paint() {
    const { index, difference } = this.shown;
    const greys = this.greys[index];
    if (!greys) return;
    if (difference && index > 0) paintDifference(this.canvas.spectrum, greys, this.greys[0]);
    else paintSpectrum(this.canvas.spectrum, greys);
    paintOutline(this.canvas.wave, this.excerpt.sounds[index].outline);
  }

  // Bring playhead, loop and clock up to date; while something plays, again with every frame.
  update() {
    const { player } = this;
    const delay = player.playing ? player.context.outputLatency || 0 : 0;
    const place = player.playing ? player.position(player.context.currentTime - delay) : player.position();
    const percent = (seconds) => `${(100 * seconds) / player.seconds}%`;
    this.playhead.style.left = percent(place);
    this.loop.hidden = player.whole;
    this.loop.style.left = percent(player.region.start);
    this.loop.style.width = percent(player.region.end - player.region.start);
    this.clock.textContent = `${time(place)} / ${time(player.seconds)}`;
    this.#tell(place);
    cancelAnimationFrame(this.frame);
    if (player.playing) this.frame = requestAnimationFrame(() => this.update());
  }

  // The slider's value, in steps that a screen reader can follow.
  #tell(place) {
    const text = `${place.toFixed(1)} of ${this.player.seconds.toFixed(1)} seconds`;
    if (text === this.told) return;
    this.told = text;
    this.element.setAttribute("aria-valuemax", this.player.seconds.toFixed(1));
    this.element.setAttribute("aria-valuenow", place.toFixed(1));
    this.element.setAttribute("aria-valuetext", text);
  }

  #ruler() {
    const ruler = document.getElementById("ruler");
    const { seconds } = this.player;
    const step = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120].find((size) => seconds / size <= 10) ?? 300;
    const marks = [];
    for (let count = 0; count * step < seconds; count += 1) {
      const mark = document.createElement("span");
      mark.textContent = `${+(count * step).toFixed(1)} s`;
      mark.style.left = `${(100 * count * step) / seconds}%`;
      marks.push(mark);
    }
    ruler.replaceChildren(...marks);
  }

  #listen() {
    const { element, player } = this;
    const at = (event) => {
      const box = element.getBoundingClientRect();
      return Math.min(Math.max((event.clientX - box.left) / box.width, 0), 1) * player.seconds;
    };
    let press = null;
    element.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      press = { x: event.clientX, from: this.#held(at(event), element.clientWidth), drag: false };
      element.setPointerCapture(event.pointerId);
    });
    element.addEventListener("pointermove", (event) => {
      if (!press) return;
      press.drag ||= Math.abs(event.clientX - press.x) >= DRAG;
      if (press.drag) this.#sketch(press.from, at(event));
    });
    element.addEventListener("pointerup", (event) => {
      if (!press) return;
      const [start, end] = [press.from, at(event)].sort((a, b) => a - b);
      if (press.drag && end - start >= SHORTEST_LOOP) player.setRegion(start, end);
      else if (!press.drag) player.seek(at(event));
      else this.update();
      press = null;
    });
    element.addEventListener("pointercancel", () => {
      press = null;
      this.update();
    });
  }

  // A press near one end of the loop takes hold of it: the other end stays.
  #held(place, width) {
    const { region, seconds, whole } = this.player;
    const near = (GRIP / width) * seconds;
    if (!whole && Math.abs(place - region.start) < near) return region.end;
    if (!whole && Math.abs(place - region.end) < near) return region.start;
    return place;
  }

  #sketch(from, to) {
    cancelAnimationFrame(this.frame);
    this.loop.hidden = false;
    this.loop.style.left = `${(100 * Math.min(from, to)) / this.player.seconds}%`;
    this.loop.style.width = `${(100 * Math.abs(to - from)) / this.player.seconds}%`;
  }
}

function time(seconds) {
  const tenths = Math.floor(seconds * 10 + 1e-6);
  return `${Math.floor(tenths / 600)}:${String(Math.floor((tenths % 600) / 10)).padStart(2, "0")}.${tenths % 10}`;
}
