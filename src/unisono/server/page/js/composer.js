// Where a question is made: text, and what is attached to it.

import { announce, byId } from "./dom.js";
import { attachmentOf } from "./media.js";
import { chip } from "./media_view.js";

const MOST_ROWS_PX = 220;

export class Composer {
  #text = byId("question");
  #list = byId("attachments");
  #media = [];

  // `ask(text, media)` is called when a question is ready; `mostBytes()` is what the server takes.
  constructor({ ask, mostBytes, complain }) {
    Object.assign(this, { ask, mostBytes, complain });
    byId("composer").addEventListener("submit", (event) => {
      event.preventDefault();
      this.send();
    });
    this.#text.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.send();
    });
    this.#text.addEventListener("input", () => this.#fit());
    byId("attach").addEventListener("click", () => byId("files").click());
    byId("files").addEventListener("change", ({ target }) => {
      this.attach([...target.files]);
      target.value = "";
    });
  }

  // Sends what is there; a spoken question goes with it.
  send(spoken) {
    const text = this.#text.value.trim();
    const media = spoken ? [...this.#media, spoken] : this.#media;
    if (!text && !media.length) return this.#text.focus();
    this.#text.value = "";
    this.#media = [];
    this.#fit();
    this.#show();
    this.ask(text, media);
  }

  write(text) {
    this.#text.value = text;
    this.#fit();
    this.#text.focus();
  }

  async attach(files) {
    for (const file of files) {
      try {
        const attachment = await attachmentOf(file);
        this.#checkSize(attachment);
        this.#media.push(attachment);
        announce(`${attachment.name} is attached.`);
      } catch (error) {
        this.complain(error.message);
      }
    }
    this.#show();
    this.#text.focus();
  }

  #checkSize({ name, blob }) {
    const all = this.#media.reduce((sum, one) => sum + one.blob.size, blob.size);
    const most = this.mostBytes() * 0.74; // base64 writes 3 bytes as 4 letters
    if (all > most) throw new Error(`“${name}” is too large: the server takes ${Math.floor(most / 1e6)} MB at once.`);
  }

  #show() {
    const remove = (one) => () => {
      this.#media = this.#media.filter((other) => other !== one);
      this.#show();
      this.#text.focus();
    };
    this.#list.replaceChildren(...this.#media.map((one) => chip(one, remove(one))));
  }

  #fit() {
    this.#text.style.height = "auto";
    this.#text.style.height = `${Math.min(this.#text.scrollHeight, MOST_ROWS_PX)}px`;
  }
}
