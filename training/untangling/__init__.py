"""Untangling: a structure block taken up into more dimensions and down again into fewer."""
