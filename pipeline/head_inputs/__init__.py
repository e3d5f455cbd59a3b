"""A cache as heads see it: inputs, texts, crops, splits, strata."""
