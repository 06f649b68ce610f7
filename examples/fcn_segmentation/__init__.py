"""Semantic segmentation with fully convolutional networks: `python -m examples.fcn_segmentation --help`."""
