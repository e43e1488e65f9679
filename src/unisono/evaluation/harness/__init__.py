"""Our models as other people's evaluation harnesses take them."""
