"""Fashion-MNIST with the small CNN of the tutorials: `python -m examples.fashion_mnist --help`."""
