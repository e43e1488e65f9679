// When somebody begins and ends to speak, by loudness above the room's own. For hands-free talk.

import { rms } from "./microphone.js";

const BEGIN_S = 0.12; // so long it must be loud
const END_S = 0.8; // so long it must be quiet
const BEFORE_S = 0.4; // kept from before it was noticed
const TIMES = 3.5; // louder than the room
const LEAST = 0.01;
const QUIETEST = 0.001; // also in a room without any sound
const RISE = 1.0015; // of the room's loudness, a chunk: it is the least of the last while

export class SpeechDetector {
  #chunks = [];
  #loud_s = 0;
  #quiet_s = 0;
  #room = LEAST;
  speaking = false;

  // `began()`, and `ended(chunks)` with all that was said.
  constructor(rate_hz, { began, ended }) {
    this.rate_hz = rate_hz;
    this.began = began;
    this.ended = ended;
  }

  push(chunk) {
    const loudness = rms(chunk);
    this.#room = Math.min(Math.max(loudness, QUIETEST), this.#room * RISE);
    const loud = loudness > Math.max(LEAST, TIMES * this.#room);
    const seconds = chunk.length / this.rate_hz;
    this.#loud_s = loud ? this.#loud_s + seconds : Math.max(0, this.#loud_s - seconds);
    this.#quiet_s = loud ? 0 : this.#quiet_s + seconds;
    this.#chunks.push(chunk);
    if (this.speaking) this.#perhapsEnd();
    else this.#perhapsBegin(seconds);
  }

  #perhapsBegin(seconds) {
    const most = Math.ceil(BEFORE_S / seconds);
    if (this.#chunks.length > most) this.#chunks.splice(0, this.#chunks.length - most);
    if (this.#loud_s < BEGIN_S) return;
    this.speaking = true;
    this.began();
  }

  #perhapsEnd() {
    if (this.#quiet_s < END_S) return;
    this.speaking = false;
    this.#loud_s = 0;
    this.ended(this.#chunks.splice(0));
  }
}
