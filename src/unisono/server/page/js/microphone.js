// The microphone: open while somebody speaks, or all the time when hands-free; never otherwise.

import { address } from "./api.js";

const DENIED = "The page may not use the microphone. Allow it in the browser's address bar.";
const ABSENT = "No microphone was found.";
const INSECURE = "Browsers allow the microphone on https or localhost only.";

// Asks for the microphone or camera; what hinders is said in words.
export async function openDevice(wanted, words) {
  if (!navigator.mediaDevices) throw new Error(words.insecure);
  return navigator.mediaDevices.getUserMedia(wanted).catch((error) => {
    throw new Error(error.name === "NotAllowedError" ? words.denied : words.absent);
  });
}

export class Microphone {
  #context;
  #stream;
  #closed = false;

  // `heard` is called with Float32Arrays of `rate_hz`.
  async open(heard) {
    const audio = { channelCount: 1, echoCancellation: true, noiseSuppression: true };
    this.#stream = await openDevice({ audio }, { denied: DENIED, absent: ABSENT, insecure: INSECURE });
    this.#context = new AudioContext();
    if (this.#closed) return this.close(); // let go while the browser still asked
    await this.#context.audioWorklet.addModule(address("page/js/capture_worklet.js"));
    if (this.#closed) return this.close();
    const capture = new AudioWorkletNode(this.#context, "capture");
    capture.port.onmessage = ({ data }) => this.#closed || heard(data);
    // It puts nothing out; only what leads to an output is computed.
    this.#context.createMediaStreamSource(this.#stream).connect(capture).connect(this.#context.destination);
  }

  get rate_hz() {
    return this.#context.sampleRate;
  }

  close() {
    this.#closed = true;
    this.#stream?.getTracks().forEach((track) => track.stop());
    if (this.#context && this.#context.state !== "closed") this.#context.close();
  }
}

// The loudness of samples, 0 to 1, as people feel it: -60 dB is nothing.
export function level(samples) {
  const db = 20 * Math.log10(rms(samples) + 1e-9);
  return Math.max(0, Math.min(1, 1 + db / 60));
}

export function rms(samples) {
  return Math.sqrt(samples.reduce((sum, sample) => sum + sample * sample, 0) / samples.length);
}
