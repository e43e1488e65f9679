"""`python -m unisono.cli` is `unisono`."""

from unisono.cli import main

main()
