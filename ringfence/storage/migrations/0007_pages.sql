-- Pages: what a payer's browser is in the middle of.

-- One row for each order that a payer was sent to a page for.  It holds no card data.
CREATE TABLE page_sessions (
    merchant_id     integer     NOT NULL,
    session_id      bigint      NOT NULL,
    door            text        NOT NULL,
    purpose         text        NOT NULL,                       -- payment, tokenization
    reference       text        NOT NULL,                       -- the merchant's own, of that door
    content         bytea       NOT NULL,                       -- keyed digest of what was asked: the same form finds its session again
    token_hash      bytea       NOT NULL,                       -- SHA-256 of the secret in the page's address
    asked           bytea       NOT NULL,                       -- JSON: what is to be paid, and what the answer repeats
    payment_link_id bigint,
    state           text        NOT NULL,                       -- open, trying, challenged, done, cancelled
    attempts        smallint    NOT NULL DEFAULT 0,             -- that a processor was asked for, the one in hand included
    payment_id      bigint,                                     -- of the attempt in hand, else of the last
    problem         text        NOT NULL DEFAULT '',            -- what the last attempt met, for the payer
    answer          bytea,                                      -- JSON: how it ended, for the merchant
    opened_at       timestamptz NOT NULL,                       -- business time
    expires_at      timestamptz NOT NULL,                       -- business time
    tried_at        timestamptz,                                -- wall time
    PRIMARY KEY (merchant_id, session_id)
) WITH (fillfactor = 70);
CREATE UNIQUE INDEX page_sessions_reference ON page_sessions (merchant_id, door, purpose, reference);
CREATE UNIQUE INDEX page_sessions_token ON page_sessions (merchant_id, token_hash);
CREATE UNIQUE INDEX page_sessions_payment ON page_sessions (merchant_id, payment_id) WHERE payment_id IS NOT NULL;
CREATE INDEX page_sessions_expired ON page_sessions (merchant_id, expires_at);
