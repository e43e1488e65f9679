// How long an answer takes, as the person who waits for it sees and hears it.

export class Stopwatch {
  timings = {};
  #began = performance.now();
  #firstText;
  #lastText;

  text() {
    this.#lastText = performance.now();
    this.#firstText ??= this.#lastText;
    this.timings.text_s ??= (this.#firstText - this.#began) / 1000;
  }

  // `wait_s`: until the samples that have just come are heard.
  sound(wait_s) {
    this.timings.sound_s ??= (performance.now() - this.#began) / 1000 + wait_s;
  }

  // The rate after the first token, when it is known how many there were.
  finished(tokens) {
    const seconds = (this.#lastText - this.#firstText) / 1000;
    if (tokens > 1 && seconds > 0) this.timings.tokens_per_s = (tokens - 1) / seconds;
  }
}
