"""One session of labelling: images, classes, texts and states, as the events of its log leave them."""
