// The conversation as it is seen.

import { byId, el } from "./dom.js";
import { shown } from "./media_view.js";

const NEAR_PX = 120;

export class Thread {
  #root = byId("thread");
  #welcome = byId("welcome");

  show(turns, again) {
    this.#root.replaceChildren();
    this.#welcome.hidden = turns.length > 0;
    for (const turn of turns) this.add(turn, again).settle();
  }

  // Adds a turn; returns its view. `again` asks it once more.
  add(turn, again) {
    this.#welcome.hidden = true;
    const view = new TurnView(turn, again, () => this.#follow());
    this.#root.append(view.question, view.answer);
    this.toEnd();
    return view;
  }

  toEnd() {
    this.#root.scrollTop = this.#root.scrollHeight;
  }

  // Stays at the end, unless somebody reads further up.
  #follow() {
    const { scrollHeight, scrollTop, clientHeight } = this.#root;
    if (scrollHeight - scrollTop - clientHeight < NEAR_PX) this.toEnd();
  }
}

class TurnView {
  #turn;
  #again;
  #follow;
  #heard = el("p", { class: "heard" });
  #words = el("p", { class: "words" });
  #foot = el("footer");

  constructor(turn, again, follow) {
    this.#turn = turn;
    this.#again = again;
    this.#follow = follow;
    const media = turn.media.map((medium) => shown(medium, medium.blob));
    this.question = el(
      "article",
      { class: "question", "aria-label": "You" },
      media.length > 0 && el("div", { class: "media" }, ...media),
      turn.text && el("p", { class: "words" }, turn.text),
      this.#heard,
    );
    this.answer = el("article", { class: "answer", "aria-label": "Answer" }, this.#words, this.#foot);
    this.update();
  }

  // Shows what the turn holds now.
  update() {
    const { answer, heard } = this.#turn;
    this.#heard.textContent = heard.map((words) => `“${words.trim()}”`).join(" ");
    this.#words.textContent = answer.text;
    this.answer.classList.toggle("going", answer.state === "going");
    this.answer.setAttribute("aria-busy", answer.state === "going");
    this.#foot.textContent = describe(answer.timings);
    this.#follow();
  }

  // The end of the answer, however it came.
  settle() {
    this.update();
    const { answer } = this.#turn;
    for (const words of answer.notices) this.#foot.append(el("p", { class: "notice" }, words));
    if (answer.state === "stopped") this.#foot.append(el("span", { class: "mark" }, "stopped"));
    if (answer.state === "failed") this.#foot.append(el("p", { class: "fault", role: "alert" }, answer.error));
    if (answer.state === "failed" || (answer.state === "stopped" && !answer.text)) {
      const again = () => this.#again(this.#turn, this);
      this.#foot.append(el("button", { type: "button", class: "plain", onclick: again }, "Try again"));
    }
    this.#follow();
  }
}

// "first text 0.21 s · first sound 0.48 s · 62 tokens/s"
function describe({ text_s, sound_s, tokens_per_s }) {
  const parts = [];
  if (text_s != null) parts.push(`first text ${text_s.toFixed(2)} s`);
  if (sound_s != null) parts.push(`first sound ${sound_s.toFixed(2)} s`);
  if (tokens_per_s != null) parts.push(`${tokens_per_s.toFixed(0)} tokens/s`);
  return parts.join(" · ");
}
