// Looks through the server's library: by words, by what a file is like, or both.

import { address, request } from "./api.js";
import { announce, byId, el, icon } from "./dom.js";
import { attachmentOf, dataUrl } from "./media.js";
import { chip, shown } from "./media_view.js";
import { settings } from "./settings.js";

const LIMIT = 24;

export class Search {
  #like = null;
  #asked = 0;

  // `attach(files)` puts files into a question.
  constructor({ attach }) {
    this.attach = attach;
    byId("finder").addEventListener("submit", (event) => {
      event.preventDefault();
      this.run();
    });
    byId("finder").addEventListener("change", ({ target }) => target.type === "checkbox" && this.run());
    byId("pick-like").addEventListener("click", () => byId("like-file").click());
    byId("like-file").addEventListener("change", ({ target }) => {
      this.like([...target.files]);
      target.value = "";
    });
    byId("preview-close").addEventListener("click", () => byId("preview").close());
    byId("preview").addEventListener("close", () => byId("preview-content").replaceChildren());
  }

  // Looks for what is like the first of some files.
  async like([file]) {
    if (!file) return;
    try {
      this.#like = await attachmentOf(file);
      this.#showLike();
      await this.run();
    } catch (error) {
      this.#note(error.message);
    }
  }

  async run() {
    const text = byId("words").value.trim();
    if (!text && !this.#like) return;
    const number = ++this.#asked;
    this.#note("Looking…");
    try {
      const answer = await request("v1/search", { body: await this.#query(text) });
      const { data } = await answer.json();
      if (number === this.#asked) this.#show(data); // else something else was asked since
    } catch (error) {
      if (number === this.#asked) this.#note(error.message);
    }
  }

  async #query(text) {
    const kinds = [...byId("finder").querySelectorAll("input:checked")];
    const query = { limit: LIMIT, modalities: kinds.flatMap(({ value }) => value.split(",")) };
    if (text) query.text = text;
    if (this.#like) query[this.#like.kind] = await dataUrl(this.#like.blob);
    return query;
  }

  #show(hits) {
    byId("hits").replaceChildren(...hits.map((hit) => this.#card(hit)));
    this.#note(hits.length ? `${hits.length} found, the nearest first` : "Nothing of this kind is in the library.");
  }

  #card(hit) {
    const look = hit.thumbnail
      ? el("img", { src: hit.thumbnail, alt: "", loading: "lazy" })
      : el("span", { class: "excerpt" }, hit.text.slice(0, 200) || nameOf(hit));
    const facts = [`${Math.round(hit.score * 100)} %`, placeOf(hit)].filter(Boolean).join(" · ");
    const about = el("span", { class: "about" }, icon(hit.modality), facts);
    const open = () => this.#open(hit);
    const name = el("span", { class: "name" }, nameOf(hit));
    return el("li", {}, el("button", { class: "hit", title: hit.path, onclick: open }, look, name, about));
  }

  async #open(hit) {
    byId("preview-title").textContent = `${nameOf(hit)} ${placeOf(hit)}`;
    const content = byId("preview-content");
    content.replaceChildren(...(hit.text ? [el("p", { class: "passage" }, hit.text)] : []));
    byId("preview").showModal();
    const ask = byId("preview-ask");
    ask.hidden = !["image", "audio", "video"].includes(hit.modality);
    ask.onclick = () => this.#askAbout(hit);
    try {
      if (!ask.hidden) content.prepend(await medium(hit));
      else if (hit.thumbnail) content.prepend(el("img", { src: hit.thumbnail, alt: "", class: "medium" }));
    } catch (error) {
      content.prepend(el("p", { class: "fault" }, error.message));
    }
  }

  async #askAbout(hit) {
    try {
      const blob = await (await request(fileOf(hit))).blob();
      byId("preview").close();
      await this.attach([new File([blob], nameOf(hit), { type: blob.type })]);
    } catch (error) {
      byId("preview-content").prepend(el("p", { class: "fault", role: "alert" }, error.message));
    }
  }

  #showLike() {
    const remove = () => {
      this.#like = null;
      this.#showLike();
      byId("words").focus();
    };
    byId("like").replaceChildren(...(this.#like ? [chip(this.#like, remove)] : []));
  }

  #note(words) {
    byId("search-note").textContent = words;
    announce(words);
  }
}

const fileOf = ({ id }) => `v1/search/${id}/file`;
const nameOf = ({ path }) => path.split(/[/\\]/).pop();

// "page 3", "0:05", or "".
function placeOf({ page, start_s }) {
  if (page != null) return `page ${page}`;
  if (start_s == null) return "";
  return `${Math.floor(start_s / 60)}:${String(Math.floor(start_s % 60)).padStart(2, "0")}`;
}

// The hit's picture, or a player that stands where the piece begins. A browser sends no key by
// itself: with one, the file is fetched whole.
async function medium(hit) {
  const whole = settings.key ? await (await request(fileOf(hit))).blob() : address(fileOf(hit));
  const node = shown({ kind: hit.modality, name: nameOf(hit) }, whole);
  if (hit.start_s) node.addEventListener("loadedmetadata", () => (node.currentTime = hit.start_s), { once: true });
  return node;
}
