"""What is added to a training to make it generalise; freely combined, each under its own name in the config."""
