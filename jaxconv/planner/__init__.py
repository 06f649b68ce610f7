"""Which algorithm computes a slot, why, and its execution."""

from .execute import execute as execute
from .existing import best_reading as best_reading
from .existing import possible_readings as possible_readings
from .key import Key as Key
from .measured import shipped as shipped
from .plan import Candidate as Candidate
from .plan import Plan as Plan
from .plan import choose as choose
from .plan import why_not as why_not
from .plans import Planned as Planned
from .plans import Plans as Plans
from .plans import default_platform as default_platform
from .plans import plan as plan
from .precision import normalize_precision as normalize_precision
from .readings import Reading as Reading
from .readings import readings as readings
from .table import Table as Table
from .tune import tune as tune
