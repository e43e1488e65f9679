// Plays speech without gaps: each piece is scheduled at the very sample where the last one ends.

export const RATE_HZ = 24000;
const LEAD_S = 0.08; // for the first piece, so that the second is there in time
const FADE_S = 0.012; // a sound that is cut would click

export class Player {
  #context;
  #out;
  #sources = new Set();
  #nextFrame = 0;
  #changed;

  constructor(changed = () => {}) {
    this.#changed = changed;
  }

  get playing() {
    return this.#sources.size > 0;
  }

  // To be called in a click or key press: browsers let no page sound without one.
  unlock() {
    this.#context ??= new AudioContext({ sampleRate: RATE_HZ });
    if (this.#context.state === "suspended") this.#context.resume();
  }

  // Schedules samples; returns in how many seconds they will be heard.
  push(samples) {
    this.unlock();
    const context = this.#context;
    if (!samples.length) return 0;
    if (!this.playing) this.#out = new GainNode(context);
    if (!this.playing) this.#out.connect(context.destination);
    const now = Math.ceil(context.currentTime * RATE_HZ);
    if (this.#nextFrame <= now) this.#nextFrame = now + Math.round(LEAD_S * RATE_HZ);
    const buffer = new AudioBuffer({ length: samples.length, sampleRate: RATE_HZ });
    buffer.copyToChannel(samples, 0);
    const source = new AudioBufferSourceNode(context, { buffer });
    source.connect(this.#out);
    source.start(this.#nextFrame / RATE_HZ);
    source.addEventListener("ended", () => this.#ended(source));
    this.#sources.add(source);
    const wait_s = this.#nextFrame / RATE_HZ - context.currentTime;
    this.#nextFrame += samples.length;
    if (this.#sources.size === 1) this.#changed();
    return wait_s;
  }

  stop() {
    if (!this.playing) return;
    const now_s = this.#context.currentTime;
    this.#out.gain.setTargetAtTime(0, now_s, FADE_S / 4);
    for (const source of this.#sources) source.stop(now_s + FADE_S);
    this.#sources.clear();
    this.#nextFrame = 0;
    this.#changed();
  }

  #ended(source) {
    if (this.#sources.delete(source) && !this.playing) this.#changed();
  }
}
