"""Files of images and masks as arrays: one module for each format, one way of opening any of them."""
