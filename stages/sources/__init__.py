"""Opening model weights, by kind and place, without running code that came with them."""
