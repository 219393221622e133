"""PPRO's Global API: payment charges, agreements, instruments and disputes, as JSON over ``/v1``."""
