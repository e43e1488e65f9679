// What the server offers, and whether it is ready; asked again until it is.

import { request } from "./api.js";
import { byId, el } from "./dom.js";
import { keep, openSettings, settings } from "./settings.js";

const AGAIN_MS = 1000;
const BYTES = 64 << 20;

export class ServerState {
  about = null;
  #timer;

  get mostBytes() {
    return this.about?.max_request_bytes ?? BYTES;
  }

  // Asks; `known(about)` is called each time that something is known.
  async follow(known) {
    clearTimeout(this.#timer);
    try {
      this.about = await (await request("v1/about")).json();
      this.#models(this.about.assistants);
      this.#say(this.about.ready ? "Ready" : "Loading the models…", this.about.ready);
      known(this.about);
    } catch (error) {
      this.#say(error.status === 401 ? "Needs a key" : "Not reachable", false);
      if (error.status === 401) return openSettings("key"); // asked again when one was given
    }
    if (!this.about?.ready) this.#timer = setTimeout(() => this.follow(known), AGAIN_MS);
  }

  #models(names) {
    const select = byId("model");
    select.replaceChildren(...names.map((name) => el("option", { value: name }, name)));
    if (!names.includes(settings.model)) keep({ model: names[0] ?? "" });
    select.value = settings.model;
  }

  #say(words, ready) {
    byId("server-state").textContent = words;
    byId("server-state").classList.toggle("ready", ready);
  }
}
