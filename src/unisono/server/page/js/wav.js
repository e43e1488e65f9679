// Recorded samples as a WAV file of 16 kHz, 16 bits, mono: what speech recognisers expect.

const RATE_HZ = 16000;
const HEADER_BYTES = 44;

// `chunks`: Float32Arrays of `rate_hz`. Fewer than a few samples make no sound: null.
export async function toWav(chunks, rate_hz) {
  const samples = joined(chunks);
  if (samples.length < rate_hz / 100) return null;
  return new Blob([file(await resampled(samples, rate_hz))], { type: "audio/wav" });
}

export function joined(chunks) {
  const all = new Float32Array(chunks.reduce((sum, chunk) => sum + chunk.length, 0));
  let at = 0;
  for (const chunk of chunks) {
    all.set(chunk, at);
    at += chunk.length;
  }
  return all;
}

async function resampled(samples, rate_hz) {
  if (rate_hz === RATE_HZ) return samples;
  const length = Math.ceil((samples.length * RATE_HZ) / rate_hz);
  const context = new OfflineAudioContext(1, length, RATE_HZ);
  const buffer = new AudioBuffer({ length: samples.length, sampleRate: rate_hz });
  buffer.copyToChannel(samples, 0);
  const source = new AudioBufferSourceNode(context, { buffer });
  source.connect(context.destination);
  source.start();
  return (await context.startRendering()).getChannelData(0);
}

function file(samples) {
  const bytes = new ArrayBuffer(HEADER_BYTES + 2 * samples.length);
  const view = new DataView(bytes);
  const letters = (at, text) => [...text].forEach((letter, i) => view.setUint8(at + i, letter.charCodeAt(0)));
  letters(0, "RIFF");
  view.setUint32(4, bytes.byteLength - 8, true);
  letters(8, "WAVEfmt ");
  view.setUint32(16, 16, true); // length of the format
  view.setUint16(20, 1, true); // PCM
  view.setUint16(22, 1, true); // channels
  view.setUint32(24, RATE_HZ, true);
  view.setUint32(28, 2 * RATE_HZ, true); // bytes a second
  view.setUint16(32, 2, true); // bytes a frame
  view.setUint16(34, 16, true); // bits a sample
  letters(36, "data");
  view.setUint32(40, 2 * samples.length, true);
  samples.forEach((sample, i) => {
    view.setInt16(HEADER_BYTES + 2 * i, Math.max(-1, Math.min(1, sample)) * 32767, true);
  });
  return bytes;
}
