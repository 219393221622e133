"""A simulated Amazon Pay: its signed API, its pages and its notifications, for a whole journey without a network.

An application of its own that happens to be served by the sandbox.  It is reached over HTTP only, keeps a book of its own, and judges by the
documents of Amazon Pay API v2, not by what Ringfence believes.
"""
from ringfence.amazon_site.site import Site, site

__all__ = ["Site", "site"]
