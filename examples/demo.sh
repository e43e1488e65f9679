#!/bin/sh
# A spoken question is answered in text and speech; then the speech is listened to.
set -eu
here=$(dirname "$0")
out=${OUT:-out}
mkdir -p "$out"

echo "== asking, by voice: examples/questions/17-colors.ogg"
unisono ask --audio "$here/questions/17-colors.ogg" --speak "$out/answer.wav" --json \
    > "$out/answer.json"
python - "$out/answer.json" <<'PY'
import json, sys
answer = json.load(open(sys.argv[1]))
timings = answer["timings"]
print("heard: ", answer["heard"][0])
print("answer:", answer["text"])
print(f"first text after {timings['first_text_s']:.2f} s, first sound after "
      f"{timings['first_speech_s']:.2f} s, {timings['tokens_per_s']:.0f} tokens/s")
PY

echo "== listening to $out/answer.wav"
python "$here/check_speech.py" "$out/answer.wav" "$out/answer.json"
