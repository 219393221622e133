"""Amazon Pay API v2 as a processor: wallets instead of cards, charges instead of messages."""
