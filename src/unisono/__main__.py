"""`python -m unisono` is `unisono`; `torchrun -m unisono` runs it in several processes."""

from unisono.cli import main

main()
