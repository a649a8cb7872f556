"""The shape of a structure block: loops, tori, knots and links, named where they can be."""
