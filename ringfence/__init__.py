"""Ringfence: a payment service you run yourself."""
__version__ = "0.1.0"
