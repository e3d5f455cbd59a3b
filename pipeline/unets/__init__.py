"""`pretrain-unet` and `convert-unet`."""
