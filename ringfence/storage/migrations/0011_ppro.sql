-- The PPRO door: requests that are carried out once, and what it turned down on charges that are there.

-- Requests under an idempotency key that are not operations of a payment (those claim their key in the intent's commit).  The row is there
-- before anything happens, and names the ids that a second try goes on with.
CREATE TABLE keyed_requests (
    merchant_id   integer     NOT NULL,
    door          text        NOT NULL,
    key           bytea       NOT NULL,               -- SHA-256 of method, path and key
    content       bytea       NOT NULL,               -- keyed digest of what was asked
    subject_id    bigint      NOT NULL,               -- the number of what it makes, fixed before the first try
    holder        text        NOT NULL,               -- whoever carries it out
    held_until    timestamptz NOT NULL,               -- wall time: until then nobody else does
    status        smallint,                           -- of the answer; null while there is none
    answer        bytea,                              -- its body
    ended_at      timestamptz,                        -- business time; a day later the key is free again
    PRIMARY KEY (merchant_id, door, key)
);
CREATE INDEX keyed_requests_ended ON keyed_requests (merchant_id, ended_at) WHERE ended_at IS NOT NULL;

-- Operations on a payment that nobody was asked about: those that this door turned down, and discards.  Nothing was reserved, but they have a
-- name and are listed.
CREATE TABLE refused_operations (
    merchant_id   integer     NOT NULL,
    payment_id    bigint      NOT NULL,
    operation_id  bigint      NOT NULL,
    kind          text        NOT NULL,
    minor         bigint      NOT NULL,
    refusal       text        NOT NULL,               -- why; of a discard that was done: discarded
    details       bytea       NOT NULL,               -- what the door echoes (JSON)
    key           text,                               -- as in operations: the same key finds it again
    content       bytea       NOT NULL,
    actor         text        NOT NULL,
    refused_at    timestamptz NOT NULL,               -- business time
    PRIMARY KEY (merchant_id, payment_id, operation_id)
);
CREATE UNIQUE INDEX refused_operations_key ON refused_operations (merchant_id, key) WHERE key IS NOT NULL;

-- The payments of this door by their merchant's reference, which several may share.
CREATE INDEX operations_ppro_reference ON operations (merchant_id, reference, payment_id)
    WHERE door = 'ppro' AND operation_id = payment_id AND reference IS NOT NULL;

-- Instruments that are no card, and those of network tokens; a card's own is a token of the vault with the instrument's name.
CREATE TABLE instruments (
    merchant_id   integer     NOT NULL,
    instrument_id bigint      NOT NULL,
    type          text        NOT NULL,
    sealed        bytea       NOT NULL,               -- details (JSON), sealed like phrases: accounts are personal
    created_at    timestamptz NOT NULL,               -- business time, like the next two
    changed_at    timestamptz NOT NULL,
    deleted_at    timestamptz,
    PRIMARY KEY (merchant_id, instrument_id)
);
