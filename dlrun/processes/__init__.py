"""One run on several processes, which torchrun starts."""
