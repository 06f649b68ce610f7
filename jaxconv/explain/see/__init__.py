"""What a network sees, without hooks: from its jaxpr, so of any library's, with any form of rectifier."""

from .cam import grad_cam as grad_cam
from .gradients import Integrated as Integrated
from .gradients import deconvnet as deconvnet
from .gradients import gradient as gradient
from .gradients import guided_backprop as guided_backprop
from .gradients import integrated_gradients as integrated_gradients
from .layers import activations as activations
from .layers import at_layer as at_layer
from .layers import first_kernels as first_kernels
from .layers import layer_names as layer_names
from .maximise import maximise as maximise
from .patches import Patch as Patch
from .patches import top_patches as top_patches
from .rule import with_rule as with_rule
from .sheet import Subject as Subject
from .sheet import sheet as sheet
