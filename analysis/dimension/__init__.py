"""Dimensions: how many, what each is worth, and what the data themselves say."""
