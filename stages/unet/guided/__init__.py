"""OpenAI's guided-diffusion checkpoints, converted exactly to diffusers."""
