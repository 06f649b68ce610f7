"""`python -m examples.super_resolution {demo,train,evaluate,upscale}`."""

import sys

from .cli import main

sys.exit(main())
