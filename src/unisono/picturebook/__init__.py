"""The data of the nano models: one small world of things to see, hear, name and talk about."""
