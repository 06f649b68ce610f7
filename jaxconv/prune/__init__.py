"""Structural pruning: channels are removed for good, from any function of arrays, groups included.

`prune` makes a `Pruned`: smaller parameters, what was kept, and the function that takes them.
"""

from .channels import Channels as Channels
from .files import load as load
from .prune import prune as prune
from .pruned import Pruned as Pruned
from .report import Report as Report
from .select import schedule as schedule
