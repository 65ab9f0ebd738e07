// The player. All sounds of an excerpt start together, sample for sample, and always run; one is let through.

const LEAD = 0.03; // seconds from asking to sounding, so that all sources can start at one sample
const EDGE = 0.003; // seconds of fade wherever playing begins, ends or jumps
const SWITCH = 0.0025; // seconds: time constant of the change from one sound to another

class Player {
  // `changed` is called after every change that a person can see.
  constructor(rate, changed) {
    this.rate = rate;
    this.changed = changed;
    this.context = null;
    this.ready = Promise.resolve();
    this.buffers = [];
    this.levels = [];
    this.seconds = 0;
    this.current = 0;
    this.repeat = true;
    this.region = { start: 0, end: 0 };
    this.paused = 0; // the position while nothing plays
    this.deck = null;
  }

  get playing() {
    return this.deck !== null;
  }

  get whole() {
    return this.region.start === 0 && this.region.end === this.seconds;
  }

  // Take other sounds; `buffers` is a promise of them. What played stops.
  load(buffers, levels, samples) {
    this.stop();
    this.levels = levels;
    this.seconds = samples / this.rate;
    this.region = { start: 0, end: this.seconds };
    this.paused = 0;
    this.current = 0;
    this.buffers = [];
    const ready = buffers.then((found) => {
      if (this.ready === ready) this.buffers = found;
    });
    this.ready = ready;
    ready.catch(() => {}); // told when somebody wants to play
    this.changed();
  }

  // Seconds into the excerpt at a time of the audio clock; by default now.
  position(time = this.context?.currentTime ?? 0) {
    if (!this.deck) return this.paused;
    const place = this.deck.from + Math.max(0, time - this.deck.at);
    const { start, end } = this.deck.region;
    if (place < end) return place;
    return this.deck.repeat ? start + ((place - start) % (end - start)) : end;
  }

  async play() {
    this.context ??= new AudioContext({ sampleRate: this.rate, latencyHint: "interactive" });
    const ready = this.ready;
    await Promise.all([this.context.resume(), ready]);
    if (this.playing || ready !== this.ready) return;
    this.#start(this.paused < this.region.end - EDGE ? this.paused : this.region.start);
    this.changed();
  }

  stop() {
    if (!this.deck) return;
    this.paused = this.position();
    this.#fadeOut(this.context.currentTime);
    this.deck = null;
    this.changed();
  }

  // Let another sound through. All gains approach their goals with one time constant, so they always add up to one.
  select(index) {
    this.current = index;
    this.#setGains();
    this.changed();
  }

  setLevels(levels) {
    this.levels = levels;
    this.#setGains();
  }

  setRepeat(repeat) {
    this.repeat = repeat;
    this.#restart();
  }

  // Go to a position: inside the region, or else the region is given up.
  seek(place) {
    const inside = Math.min(Math.max(place, 0), Math.max(0, this.seconds - EDGE));
    if (inside < this.region.start || inside >= this.region.end) this.region = { start: 0, end: this.seconds };
    this.#restart(inside);
  }

  // Choose what is repeated, on whole samples; positions outside move to its start.
  setRegion(start, end) {
    const grid = (value) => Math.round(Math.min(Math.max(value, 0), this.seconds) * this.rate) / this.rate;
    this.region = { start: grid(start), end: grid(end) };
    const at = this.#soon();
    const place = this.position(at);
    this.#restart(place < this.region.start || place >= this.region.end ? this.region.start : place, at);
  }

  // The next moment of the audio clock, on a whole sample, that all sources can start at.
  #soon() {
    return this.context ? Math.ceil((this.context.currentTime + LEAD) * this.rate) / this.rate : 0;
  }

  // Play on from a position, by default where it will be by then; without a click, and in step.
  #restart(place, at = this.#soon()) {
    if (this.deck) {
      const next = place ?? this.position(at);
      this.#fadeOut(at);
      this.#start(next, at);
    } else if (place !== undefined) {
      this.paused = place;
    }
    this.changed();
  }

  // Start a deck: a source for each sound into its own gain, all into the seam's envelope, that into a fade.
  #start(place, at = this.#soon()) {
    const { context } = this;
    const from = Math.round(place * this.rate) / this.rate;
    const { start, end } = this.region;
    const fade = new GainNode(context, { gain: 0 });
    fade.gain.setValueAtTime(0, at);
    fade.gain.linearRampToValueAtTime(1, at + EDGE);
    fade.connect(context.destination);
    const seam = new GainNode(context, { gain: 0 }); // takes its gain from a source that runs with the sounds
    seam.connect(fade);
    const run = (buffer) => {
      const source = new AudioBufferSourceNode(context, { buffer, loop: this.repeat, loopStart: start, loopEnd: end });
      if (this.repeat) source.start(at, from);
      else source.start(at, from, end - from);
      return source;
    };
    const envelope = run(this.#envelope());
    envelope.connect(seam.gain);
    const gains = this.buffers.map((_, index) => new GainNode(context, { gain: this.#goal(index) }));
    const sources = this.buffers.map((buffer, index) => {
      const source = run(buffer);
      source.connect(gains[index]).connect(seam);
      return source;
    });
    const deck = { at, from, region: { start, end }, repeat: this.repeat, fade, gains, sources: [...sources, envelope] };
    envelope.onended = () => {
      if (this.deck === deck) this.#ended();
    };
    this.deck = deck;
  }

  // Ones, with short ramps at the region's ends: where a loop closes, both sides are silent, and nothing clicks.
  #envelope() {
    const { start, end } = this.region;
    const buffer = new AudioBuffer({ length: Math.round(this.seconds * this.rate), sampleRate: this.rate });
    const values = buffer.getChannelData(0).fill(1);
    const first = Math.round(start * this.rate);
    const last = Math.round(end * this.rate) - 1;
    const ramp = Math.min(Math.round(EDGE * this.rate), (last - first) >> 1);
    for (let step = 0; step < ramp; step += 1) {
      values[first + step] = step / ramp;
      values[last - step] = step / ramp;
    }
    return buffer;
  }

  #ended() {
    this.deck = null;
    this.paused = this.region.start;
    this.changed();
  }

  #fadeOut(at) {
    const { fade, sources } = this.deck;
    fade.gain.cancelScheduledValues(at);
    fade.gain.setTargetAtTime(0, at, EDGE / 3);
    for (const source of sources) {
      source.onended = null;
      source.stop(at + 4 * EDGE);
    }
  }

  #goal(index) {
    return index === this.current ? this.levels[index] : 0;
  }

  #setGains() {
    if (!this.deck) return;
    const now = this.context.currentTime;
    this.deck.gains.forEach((gain, index) => gain.gain.setTargetAtTime(this.#goal(index), now, SWITCH));
  }
}
