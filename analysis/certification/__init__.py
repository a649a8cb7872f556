"""How a product is examined: held-out bounds, critics, one examination, and what it could have seen."""
