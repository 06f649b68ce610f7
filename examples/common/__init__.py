"""What the examples share: one training loop, checkpoints, the command line, data formats, figures."""
