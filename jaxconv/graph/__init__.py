"""A function's jaxpr as a graph of convolutions, and what can be read off it.

`trace` makes the graph; `receptive_field` says what each result sees, `summary` what each layer costs.
"""

from .effective import EffectiveField as EffectiveField
from .effective import effective_receptive_field as effective_receptive_field
from .field import Field as Field
from .field import Fields as Fields
from .field import ReceptiveField as ReceptiveField
from .field import receptive_field as receptive_field
from .kinds import OPS as OPS
from .nodes import Call as Call
from .nodes import Conv as Conv
from .nodes import Graph as Graph
from .nodes import Node as Node
from .nodes import Value as Value
from .nodes import Window as Window
from .summary import Row as Row
from .summary import Summary as Summary
from .summary import summary as summary
from .trace import trace as trace
