"""Run as a script: put features into a folder until killed."""

import sys
from itertools import count
from pathlib import Path

import torch

from unisono.training.feature_cache import FeatureStore

store = FeatureStore(Path(sys.argv[1]), 10**9)
for number in count():
    value = number % 256
    store.put(f"{value:02x}" * 32, torch.full((200_000,), float(value)))
