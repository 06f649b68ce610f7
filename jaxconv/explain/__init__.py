"""Convolutions explained: sizes both ways, pictures, animations, the code for other libraries, a page."""

from .layer import Layer as Layer
from .layer import layer as layer
