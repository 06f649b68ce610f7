"""Convolutions explained: sizes both ways, pictures, animations, the code for other libraries, a page."""

from ..geometry import Bounds as Bounds
from . import see as see
from .animate import animate as animate
from .calls import calls as calls
from .coverage import draw_coverage as draw_coverage
from .draw import draw as draw
from .groups import groups as groups
from .layer import layer as layer
from .matrix import draw_matrix as draw_matrix
from .page import page as page
from .shape import choices as choices
from .shape import report as report
