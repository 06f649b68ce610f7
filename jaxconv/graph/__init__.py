from .trace import trace as trace
