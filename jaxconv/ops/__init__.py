"""The operators: functions of arrays."""

from . import rules as rules
