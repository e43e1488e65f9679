// Pictures, sounds and videos that somebody adds: what kind they are, made small enough, as data URLs.

const ENDINGS = {
  image: /\.(png|jpe?g|webp|gif|bmp|avif|heic)$/i,
  audio: /\.(wav|mp3|ogg|oga|opus|flac|m4a|aac)$/i,
  video: /\.(mp4|mkv|webm|mov|avi|m4v|ogv)$/i,
};
const SENT_AS_THEY_ARE = ["image/png", "image/jpeg", "image/webp", "image/gif"];
const MOST_PX = 2048;
const QUALITY = 0.92;

// {kind, name, blob} of a file.
export async function attachmentOf(file) {
  const kind = kindOf(file);
  if (!kind) throw new Error(`“${file.name}” is neither a picture nor a sound nor a video.`);
  const blob = kind === "image" ? await smallPicture(file) : file;
  return { kind, name: file.name || kind, blob };
}

function kindOf({ type, name }) {
  const said = type.split("/")[0];
  if (said in ENDINGS) return said;
  return Object.keys(ENDINGS).find((kind) => ENDINGS[kind].test(name));
}

// Cameras make pictures larger than any model looks at; and servers may not read every format.
async function smallPicture(file) {
  const bitmap = await createImageBitmap(file).catch(() => {
    throw new Error(`“${file.name}” is not a picture that this browser can read.`);
  });
  const scale = Math.min(1, MOST_PX / Math.max(bitmap.width, bitmap.height));
  if (scale === 1 && SENT_AS_THEY_ARE.includes(file.type)) return file;
  const canvas = new OffscreenCanvas(Math.round(bitmap.width * scale), Math.round(bitmap.height * scale));
  const context = canvas.getContext("2d");
  context.fillStyle = "white"; // behind transparent parts
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  return canvas.convertToBlob({ type: "image/jpeg", quality: QUALITY });
}

export function dataUrl(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.addEventListener("load", () => resolve(reader.result));
    reader.addEventListener("error", () => reject(new Error("The file cannot be read any more.")));
    reader.readAsDataURL(blob);
  });
}
