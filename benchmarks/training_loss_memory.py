"""Prints the peak bytes of one packed row's loss: python training_loss_memory.py CHUNK_OR_NULL."""

import json
import sys

import torch
from memory import forget_peak, peak_bytes
from training_model import ola_config

from unisono.models import OlaForConditionalGeneration

TOKENS, VOCABULARY = 4096, 49_152


def main() -> None:
    chunk = json.loads(sys.argv[1])
    torch.manual_seed(0)
    model = OlaForConditionalGeneration(ola_config(VOCABULARY))
    ids = torch.randint(0, VOCABULARY, (1, TOKENS))
    positions = torch.arange(TOKENS)[None] % 512  # eight conversations in a row
    given = {} if chunk is None else {"loss_chunk": chunk}
    model(input_ids=ids[:, :64], labels=ids[:, :64], **given).loss.backward()  # gradients exist
    forget_peak()
    before = peak_bytes()
    model(input_ids=ids, position_ids=positions, labels=ids, **given).loss.backward()
    print(peak_bytes() - before)


if __name__ == "__main__":
    main()
