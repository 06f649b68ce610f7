"""Which algorithm computes a slot, why, and its execution."""

from .execute import execute as execute
from .key import Key as Key
from .measured import shipped as shipped
from .plan import Candidate as Candidate
from .plan import Plan as Plan
from .plan import choose as choose
from .plan import plan as plan
from .plan import why_not as why_not
from .precision import normalize_precision as normalize_precision
from .table import Table as Table
from .tune import tune as tune
