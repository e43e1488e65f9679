"""Pretraining, alignment and fine-tuning: recipes in, checkpoints out."""
