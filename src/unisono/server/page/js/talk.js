// One question at a time: asks it, shows and speaks the answer, and stops when told to.

import { ServerError } from "./api.js";
import { answer as viaChat } from "./chat_transport.js";
import { announce, byId } from "./dom.js";
import { Player } from "./player.js";
import { openSettings, settings } from "./settings.js";
import { Stopwatch } from "./stopwatch.js";

export class Talk {
  #going = null; // {abort, turn} of the answer that is being written
  #player = new Player(() => this.#changed());

  constructor({ conversation, thread, transport = viaChat, mostBytes }) {
    Object.assign(this, { conversation, thread, transport, mostBytes });
    byId("stop").addEventListener("click", () => this.stop());
  }

  get busy() {
    return this.#going !== null || this.#player.playing;
  }

  restore() {
    this.thread.show(this.conversation.turns, (...turn) => this.#again(...turn));
  }

  async ask(text, media) {
    this.stop();
    const turn = this.conversation.add(text, media);
    const view = this.thread.add(turn, (...again) => this.#again(...again));
    await this.#answer(turn, view);
  }

  // Barge-in, Escape, the button: the answer ends here, and so does its sound.
  stop() {
    this.#player.stop();
    if (!this.#going) return;
    this.#going.turn.answer.state = "stopped";
    this.#going.abort.abort();
    announce("Stopped.");
  }

  async #again(turn, view) {
    this.stop();
    this.conversation.again(turn);
    await this.#answer(turn, view);
  }

  async #answer(turn, view) {
    const abort = new AbortController();
    const going = { abort, turn };
    this.#going = going;
    if (settings.speak) this.#player.unlock();
    this.#changed();
    view.update();
    try {
      const messages = await this.conversation.messages(turn, this.mostBytes());
      await this.#follow(this.transport(messages, settings, abort.signal), turn, view, abort.signal);
      turn.answer.state = "done";
      announce(`Answer: ${turn.answer.text}`);
    } catch (error) {
      if (!abort.signal.aborted) this.#failed(turn, error);
    }
    if (this.#going === going) this.#going = null;
    view.settle();
    this.conversation.save();
    this.#changed();
  }

  async #follow(events, turn, view, signal) {
    const watch = new Stopwatch();
    turn.answer.timings = watch.timings;
    for await (const event of events) {
      signal.throwIfAborted(); // what was on its way when it was stopped
      if (event.type === "text") {
        watch.text();
        turn.answer.text += event.text;
      } else if (event.type === "sound") watch.sound(this.#player.push(event.samples));
      else if (event.type === "heard") turn.heard = event.words;
      else if (event.type === "notices") turn.answer.notices = event.words;
      else watch.finished(event.tokens);
      view.update();
    }
  }

  #failed(turn, error) {
    if (!(error instanceof ServerError)) console.error(error);
    turn.answer.state = "failed";
    turn.answer.error = error.message;
    this.#player.stop();
    if (error.status === 401) openSettings("key");
  }

  #changed() {
    byId("stop").hidden = !this.busy;
    byId("send").hidden = this.busy;
    document.body.classList.toggle("speaking", this.#player.playing);
  }
}
