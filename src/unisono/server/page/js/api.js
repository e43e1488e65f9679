// Requests to the server: the key, errors in people's words, server-sent events.

import { settings } from "./settings.js";

// Something went wrong that a person should read; `status` is HTTP's, or 0 without an answer.
export class ServerError extends Error {
  constructor(message, status = 0) {
    super(message);
    this.status = status;
  }
}

const WORDS = {
  401: "This server needs a key. Write it into the settings.",
  413: "That is more than this server takes at once. Try something smaller.",
  429: "Many people are asking just now. Try again in a moment.",
  503: "The models are still being loaded. Try again in a moment.",
  504: "The answer took too long.",
};
const UNREACHABLE = "The server cannot be reached. Is it still running?";
const BROKEN = "The connection broke off before the answer was complete.";

// Relative, so that the page also works below a prefix.
export const address = (path) => new URL(path, document.baseURI).href;

export async function request(path, { body, signal } = {}) {
  const asked = { headers: {}, signal };
  if (settings.key) asked.headers.authorization = `Bearer ${settings.key}`;
  if (body !== undefined) {
    asked.method = "POST";
    asked.headers["content-type"] = "application/json";
    asked.body = JSON.stringify(body);
  }
  const answer = await fetch(address(path), asked).catch((error) => {
    throw error.name === "AbortError" ? error : new ServerError(UNREACHABLE);
  });
  if (!answer.ok) throw await failure(answer);
  return answer;
}

async function failure(answer) {
  const said = await answer.json().catch(() => null);
  const message = said?.error?.message;
  return new ServerError(WORDS[answer.status] ?? sentence(message ?? `HTTP ${answer.status}`), answer.status);
}

const sentence = (words) => words.charAt(0).toUpperCase() + words.slice(1) + (/[.!?]$/.test(words) ? "" : ".");

// The JSON of each event, up to [DONE].
export async function* events(answer) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read().catch((error) => {
      throw error.name === "AbortError" ? error : new ServerError(BROKEN);
    });
    if (done) throw new ServerError(BROKEN);
    const blocks = (rest + value).split(/\r?\n\r?\n/);
    rest = blocks.pop();
    for (const block of blocks) {
      const data = dataOf(block);
      if (data === "[DONE]") return;
      if (data) yield checked(JSON.parse(data));
    }
  }
}

const dataOf = (block) =>
  block
    .split(/\r?\n/)
    .filter((line) => line.startsWith("data:"))
    .map((line) => line.slice(5).trimStart())
    .join("\n");

function checked(event) {
  if (event.error) throw new ServerError(sentence(event.error.message));
  return event;
}
