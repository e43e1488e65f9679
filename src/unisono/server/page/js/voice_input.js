// Speaking a question: hold the button, or press it twice; or hands-free, whenever somebody speaks.

import { announce, byId } from "./dom.js";
import { level, Microphone } from "./microphone.js";
import { SpeechDetector } from "./speech_detector.js";
import { toWav } from "./wav.js";

const HELD_MS = 350; // shorter is a press, and the next one ends it

export class VoiceInput {
  #recording = null; // {microphone, chunks}
  #open = null; // the microphone of hands-free talk
  #pressed = 0;
  #latched = false;

  // `began()`: somebody speaks; `spoken(blob)`: a question as WAV; `complain(words)`.
  constructor({ began, spoken, complain }) {
    Object.assign(this, { began, spoken, complain });
    const button = byId("microphone");
    button.addEventListener("pointerdown", (event) => event.button === 0 && this.#press());
    for (const end of ["pointerup", "pointercancel"]) window.addEventListener(end, () => this.#release());
    button.addEventListener("keydown", (event) => this.#key(event, () => event.repeat || this.#press()));
    button.addEventListener("keyup", (event) => this.#key(event, () => this.#release()));
    // Assistive technology clicks without pointer or key.
    button.addEventListener("click", (event) => event.detail === 0 && event.pointerType === "" && this.#press());
    byId("hands-free").addEventListener("click", () => (this.#open ? this.#close() : this.#listenAlways()));
  }

  get recording() {
    return this.#recording !== null;
  }

  // Forgets what was said.
  cancel() {
    this.#recording?.microphone.close();
    this.#recording = null;
    this.#show(false);
  }

  #key(event, then) {
    if (event.key !== " " && event.key !== "Enter") return;
    event.preventDefault();
    then();
  }

  #press() {
    if (this.recording) return this.#finish();
    this.#pressed = performance.now();
    this.#latched = false;
    this.#begin();
  }

  #release() {
    if (!this.recording || this.#latched) return;
    if (performance.now() - this.#pressed >= HELD_MS) this.#finish();
    else this.#latched = true;
  }

  async #begin() {
    this.began();
    const recording = { microphone: new Microphone(), chunks: [] };
    this.#recording = recording;
    try {
      await recording.microphone.open((chunk) => {
        if (!recording.chunks.length) this.#show(true, "Listening… press again to send, Escape to forget");
        recording.chunks.push(chunk);
        this.#meter(chunk);
      });
    } catch (error) {
      if (this.#recording === recording) this.cancel();
      this.complain(error.message);
    }
  }

  async #finish() {
    const { microphone, chunks } = this.#recording;
    this.cancel();
    await this.#tell(chunks, chunks.length ? microphone.rate_hz : 1);
  }

  async #tell(chunks, rate_hz) {
    const blob = await toWav(chunks, rate_hz);
    if (blob) this.spoken(blob);
    else this.complain("Nothing was heard: hold the button as long as you speak, or press it twice.");
  }

  async #listenAlways() {
    const microphone = new Microphone();
    this.#open = microphone;
    this.#showOpen();
    let detector;
    try {
      await microphone.open((chunk) => {
        detector ??= this.#detector(microphone.rate_hz);
        detector.push(chunk);
        this.#meter(chunk);
      });
      this.#show(true, "Hands-free: just speak");
    } catch (error) {
      this.#close();
      this.complain(error.message);
    }
  }

  #detector(rate_hz) {
    const began = () => {
      this.began();
      this.#show(true, "Listening…");
    };
    const ended = (chunks) => {
      this.#show(true, "Hands-free: just speak");
      this.#tell(chunks, rate_hz);
    };
    return new SpeechDetector(rate_hz, { began, ended });
  }

  #close() {
    this.#open.close();
    this.#open = null;
    this.#showOpen();
    this.#show(false);
  }

  #showOpen() {
    byId("hands-free").setAttribute("aria-pressed", this.#open !== null);
    byId("microphone").disabled = this.#open !== null;
  }

  #show(on, words = "") {
    byId("listening").hidden = !on;
    byId("microphone").setAttribute("aria-pressed", this.recording);
    if (on && byId("listening-words").textContent !== words) announce(words);
    byId("listening-words").textContent = words;
  }

  #meter(chunk) {
    byId("listening").style.setProperty("--level", level(chunk).toFixed(2));
  }
}
