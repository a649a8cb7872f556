"""Pieces of a cloud: found, cut, joined into a tree, and how their centres lie."""
