"""Compile programs for devices that are not there, and read what the compiler made of them.

Not part of `import jaxconv`: import it by name. It needs the device's compiler; `compile_for` says which.
"""

from .compile import compile_for as compile_for
from .compile import lower_for as lower_for
from .devices import DEVICES as DEVICES
from .devices import Device as Device
from .devices import Missing as Missing
from .devices import missing as missing
from .devices import topology as topology
from .findings import Finding as Finding
from .hlo import Collective as Collective
from .products import Product as Product
from .report import Memory as Memory
from .report import Report as Report
