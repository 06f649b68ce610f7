"""`python -m examples.fashion_mnist {demo,train,evaluate,show}`."""

import sys

from .cli import main

sys.exit(main())
