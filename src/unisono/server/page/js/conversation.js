// What was said: a list of turns, each a question with its answer.
//
//   {text, media: [{kind, name, blob, spoken?}], heard: [words],
//    answer: {text, state: "going" | "done" | "stopped" | "failed", error, timings, notices}}

import { dataUrl } from "./media.js";
import * as store from "./store.js";

const ROOM_BYTES = 1 << 20; // for what is not media

export class Conversation {
  turns = [];

  async restore() {
    this.turns = await store.load().catch(() => []);
    for (const { answer } of this.turns) if (answer.state === "going") answer.state = "stopped";
  }

  add(text, media) {
    const turn = { text, media, heard: [], answer: fresh() };
    this.turns.push(turn);
    this.save();
    return turn;
  }

  again(turn) {
    turn.answer = fresh();
  }

  clear() {
    this.turns = [];
    this.save();
  }

  // A private window may have no place to keep things: the page works without.
  save() {
    store.save(this.turns).catch(() => {});
  }

  // All turns up to this one, as the server takes them. Of media, the latest are sent that fit into
  // `most_bytes`; earlier ones are named only.
  async messages(last, most_bytes) {
    let left = most_bytes - ROOM_BYTES;
    const written = [];
    for (const turn of this.turns.slice(0, this.turns.indexOf(last) + 1).reverse()) {
      if (turn !== last && !turn.answer.text) continue;
      if (turn !== last) written.unshift({ role: "assistant", content: turn.answer.text });
      const parts = [];
      for (const medium of turn.media) {
        const url = medium.blob.size * (4 / 3) < left ? await dataUrl(medium.blob) : "";
        left -= url.length;
        parts.push(url ? part(medium, url) : said(`(${medium.name}, shown earlier)`));
      }
      if (turn.text) parts.push(said(turn.text));
      written.unshift({ role: "user", content: parts });
    }
    return written;
  }
}

const fresh = () => ({ text: "", state: "going", error: "", timings: {}, notices: [] });
const said = (text) => ({ type: "text", text });
const part = ({ kind }, url) => ({ type: `${kind}_url`, [`${kind}_url`]: { url } });
