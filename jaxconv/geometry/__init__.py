"""Sizes, padding and cost of convolutions: integers only, no arrays."""

from .axis import Axis as Axis
from .axis import Core as Core
from .cost import bytes_moved as bytes_moved
from .cost import multiply_adds as multiply_adds
from .padding import Padding as Padding
from .padding import normalize as normalize
from .padding import normalize_transposed as normalize_transposed
from .receptive_field import SAME as SAME
from .receptive_field import Taps as Taps
from .receptive_field import combined as combined
from .solve import Bounds as Bounds
from .solve import Choice as Choice
from .solve import missing_padding as missing_padding
from .solve import reachable as reachable
from .spec import ConvSpec as ConvSpec
from .spec import Slot as Slot
