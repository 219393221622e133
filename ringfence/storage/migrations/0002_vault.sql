-- The card vault.

-- The master keys by number: never the keys themselves, only a value that tells whether the right one is there, and the
-- installation's lasting keys (chain, content) sealed under it.  A key is announced here before anything is sealed under it.
CREATE TABLE vault_keys (
    key_id        integer     PRIMARY KEY,
    check_value   bytea       NOT NULL UNIQUE,
    carried       bytea       NOT NULL,
    created_at    timestamptz NOT NULL,               -- wall time
    retired_at    timestamptz                         -- nothing is sealed under it any more
);

-- One row: the key in force, and while a rotation runs the one that follows.  Odd and even numbers take turns, because they
-- choose the fingerprint's column.  Whoever stores a card holds this row, so that a rotation's steps are seen by all at once.
CREATE TABLE vault_state (
    only_row      boolean     PRIMARY KEY DEFAULT true CHECK (only_row),
    current_key   integer     NOT NULL,
    next_key      integer,
    CHECK (next_key > current_key AND (next_key - current_key) % 2 = 1)
);

-- The running processes and how far their keys have come: a rotation waits for those whose word has not run out.
CREATE TABLE vault_holders (
    holder        text        PRIMARY KEY,
    held          integer     NOT NULL,               -- the newest key it has
    in_use        integer     NOT NULL,               -- the key it seals with
    good_until    timestamptz NOT NULL                -- wall time
);

-- One record per card number and merchant.  ciphertext is null where only the first and last digits are kept.
CREATE TABLE cards (
    merchant_id        integer     NOT NULL,
    card_id            bigint      NOT NULL,
    fingerprint_odd    bytea,                         -- HMAC(key, merchant, number) under a key of odd number
    fingerprint_even   bytea,                         -- ... of even number; both while the keys rotate
    key_id             integer,
    wrapped_key        bytea,
    ciphertext         bytea,
    brand              text        NOT NULL,
    bin                text        NOT NULL,
    last4              text        NOT NULL,
    first_reference    text        NOT NULL DEFAULT '',   -- scheme reference of the first approved cardholder-initiated payment
    blocked            text        NOT NULL DEFAULT '',   -- the hard decline that ended merchant-initiated payments, or ''
    created_at         timestamptz NOT NULL,          -- business time
    PRIMARY KEY (merchant_id, card_id),
    CHECK ((ciphertext IS NULL) = (key_id IS NULL) AND (ciphertext IS NULL) = (wrapped_key IS NULL)),
    CHECK (ciphertext IS NULL OR fingerprint_odd IS NOT NULL OR fingerprint_even IS NOT NULL)
);
CREATE UNIQUE INDEX cards_fingerprint_odd ON cards (merchant_id, fingerprint_odd) WHERE fingerprint_odd IS NOT NULL;
CREATE UNIQUE INDEX cards_fingerprint_even ON cards (merchant_id, fingerprint_even) WHERE fingerprint_even IS NOT NULL;
CREATE INDEX cards_key ON cards (key_id, merchant_id, card_id) WHERE ciphertext IS NOT NULL;

CREATE TABLE tokens (
    merchant_id   integer     NOT NULL,
    token_name    text        NOT NULL,
    card_id       bigint      NOT NULL,
    expiry        text        NOT NULL,               -- YYMM
    holder        text        NOT NULL,
    active        boolean     NOT NULL,
    version       integer     NOT NULL,               -- grows with every change of the token or what its card may do
    created_at    timestamptz NOT NULL,               -- business time
    PRIMARY KEY (merchant_id, token_name)
);
CREATE INDEX tokens_card ON tokens (merchant_id, card_id);
CREATE INDEX tokens_created ON tokens (merchant_id, created_at, token_name);
