"""`python -m examples.fcn_segmentation {demo,train,evaluate,segment,compare}`."""

import sys

from .cli import main

sys.exit(main())
