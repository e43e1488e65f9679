// How a question reaches the model and its answer comes back: here by POST and server-sent events.
//
// The rest of the page knows only the events that `answer` yields, so another transport (the
// realtime WebSocket) can take this one's place:
//   {type: "text", text}         a piece of the answer
//   {type: "sound", samples}     Float32Array, mono, 24 kHz, to be played after what came before
//   {type: "heard", words}       what a listener understood of the question's sounds
//   {type: "notices", words}     what of the question the model did not get
//   {type: "finished", tokens}   how many tokens the answer has; null if that is not known

import { events, request } from "./api.js";

export async function* answer(messages, wishes, signal) {
  const response = await request("v1/chat/completions", { body: asked(messages, wishes), signal });
  let tokens = null;
  for await (const chunk of events(response)) {
    tokens = chunk.usage?.completion_tokens ?? tokens;
    if (chunk.unisono?.heard?.length) yield { type: "heard", words: chunk.unisono.heard };
    if (chunk.unisono?.notices?.length) yield { type: "notices", words: chunk.unisono.notices };
    const delta = chunk.choices[0]?.delta;
    if (delta?.content) yield { type: "text", text: delta.content };
    if (delta?.audio?.data) yield { type: "sound", samples: fromPcm16(delta.audio.data) };
  }
  yield { type: "finished", tokens };
}

function asked(messages, { model, speak, voice, system, longest }) {
  const body = {
    model,
    messages: system ? [{ role: "system", content: system }, ...messages] : messages,
    stream: true,
    stream_options: { include_usage: true },
  };
  if (speak) {
    body.modalities = ["text", "audio"];
    body.audio = { voice: voice || "default", format: "pcm16" };
  }
  if (longest) body.max_completion_tokens = Number(longest);
  return body;
}

function fromPcm16(base64) {
  const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  const view = new DataView(bytes.buffer);
  const samples = new Float32Array(bytes.length >> 1);
  for (let i = 0; i < samples.length; i++) samples[i] = view.getInt16(2 * i, true) / 32768;
  return samples;
}
