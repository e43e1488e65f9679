// The scripted conversation with OpenAI's client for JavaScript, unmodified:
//   node npm_conversation.mjs URL QUESTION.ogg QUESTION.pcm
// QUESTION.pcm is 16 bits, 24 kHz. Fails where something is wrong; prints what was said.

import assert from "node:assert/strict";
import { createReadStream, readFileSync } from "node:fs";
import OpenAI from "openai";
import { OpenAIRealtimeWS } from "openai/realtime/ws";

const [url, ogg, pcm] = process.argv.slice(2);
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: "none", maxRetries: 0, timeout: 300_000 });
const said = {};
const bees = [{ role: "user", content: "What do bees make?" }];

async function chats() {
  const asked = { model: "ola-nano", messages: bees, temperature: 0, max_tokens: 40 };
  const whole = await client.chat.completions.create(asked);
  said.typed = whole.choices[0].message.content;
  assert.match(said.typed, /honey/i);
  const stream = await client.chat.completions.create({ ...asked, stream: true });
  let text = "";
  for await (const chunk of stream) text += chunk.choices[0]?.delta?.content ?? "";
  assert.equal(text, said.typed);
}

async function speaks() {
  const data = readFileSync(ogg).toString("base64");
  const question = { role: "user", content: [{ type: "input_audio", input_audio: { data, format: "wav" } }] };
  const stream = await client.chat.completions.create({
    model: "ola-nano",
    messages: [question],
    modalities: ["text", "audio"],
    audio: { voice: "alloy", format: "pcm16" },
    stream: true,
    max_tokens: 40,
  });
  let bytes = 0;
  let transcript = "";
  for await (const chunk of stream) {
    const sound = chunk.choices[0]?.delta?.audio;
    bytes += Buffer.from(sound?.data ?? "", "base64").length;
    transcript += sound?.transcript ?? "";
  }
  assert.match(transcript, /honey/i);
  assert.ok(bytes > 24_000);
  said.spoken = transcript;
}

async function hearsAndReads() {
  const heard = await client.audio.transcriptions.create({ model: "ola-nano", file: createReadStream(ogg) });
  assert.match(heard.text, /bees/i);
  said.heard = heard.text;
  const speech = await client.audio.speech.create({
    model: "ola-nano",
    voice: "alloy",
    input: "The sky is blue.",
    response_format: "mp3",
  });
  assert.ok((await speech.arrayBuffer()).byteLength > 2000);
}

async function embeds() {
  const input = ["a dog", "a cat"];
  const { data } = await client.embeddings.create({ model: "onepeace-nano", input, dimensions: 64 });
  assert.deepEqual(
    data.map(({ embedding }) => embedding.length),
    [64, 64],
  );
}

function talks() {
  const socket = new OpenAIRealtimeWS({ model: "ola-nano" }, client);
  return new Promise((resolve, reject) => {
    let transcript = "";
    let bytes = 0;
    socket.on("error", reject);
    socket.on("session.created", () => {
      socket.send({ type: "session.update", session: { type: "realtime", max_output_tokens: 40 } });
      const sound = readFileSync(pcm);
      for (let at = 0; at < sound.length; at += 9600)
        socket.send({ type: "input_audio_buffer.append", audio: sound.subarray(at, at + 9600).toString("base64") });
    });
    socket.on("response.output_audio.delta", ({ delta }) => (bytes += Buffer.from(delta, "base64").length));
    socket.on("response.output_audio_transcript.delta", ({ delta }) => (transcript += delta));
    socket.on("response.done", ({ response }) => {
      socket.close();
      try {
        assert.ok(["completed", "incomplete"].includes(response.status), response.status);
        assert.match(transcript, /honey/i);
        assert.ok(bytes > 24_000);
        resolve((said.talked = transcript));
      } catch (error) {
        reject(error);
      }
    });
  });
}

for (const scene of [chats, speaks, hearsAndReads, embeds, talks]) await scene();
console.log(JSON.stringify(said));
process.exit(0);
