"""The density of a structure block, its level sets and their persistent homology."""
