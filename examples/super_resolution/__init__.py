"""Super-resolution of photographs with FSRCNN and ESPCN: `python -m examples.super_resolution --help`."""
