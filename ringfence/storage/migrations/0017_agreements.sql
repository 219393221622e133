-- Agreements: what payers agreed to once, so that merchants may charge later without them.

CREATE TABLE agreements (
    merchant_id   integer     NOT NULL,
    agreement_id  bigint      NOT NULL,
    status        text        NOT NULL,
    method        text        NOT NULL,
    start_at      timestamptz,                        -- business time, like all the others
    end_at        timestamptz,
    minor         bigint,                             -- minor units; null for no amount
    currency      text        NOT NULL,
    amount_type   text        NOT NULL,               -- EXACT, MAX, VARIABLE, '' for nothing said
    payment_id    bigint      NOT NULL,               -- what proves it: the initial charge or a nominal one, fixed before its first try; 0: none
    is_charged    boolean     NOT NULL,               -- whether that is a charge of the caller's
    instrument_id bigint      NOT NULL,               -- the number of the instrument that it makes, fixed before the first try
    instrument    text        NOT NULL,               -- what it is paid with, '' for nothing yet
    account       text        NOT NULL,               -- what stands for the payer's account at a wallet
    is_updated    boolean     NOT NULL,               -- what it is paid with has changed
    is_close_owed boolean     NOT NULL,               -- the wallet is still to be told that it ended
    details       bytea       NOT NULL,               -- what the door echoes (JSON)
    webhooks_url  text        NOT NULL,               -- '' for the account's
    actor         text        NOT NULL,
    why           text        NOT NULL,               -- of one that failed
    created_at    timestamptz NOT NULL,
    changed_at    timestamptz NOT NULL,
    PRIMARY KEY (merchant_id, agreement_id)
);
CREATE INDEX agreements_account ON agreements (merchant_id, account) WHERE account <> '';
CREATE INDEX agreements_instrument ON agreements (merchant_id, instrument) WHERE instrument <> '';

-- One row for each change of status.
CREATE TABLE agreement_history (
    merchant_id   integer     NOT NULL,
    agreement_id  bigint      NOT NULL,
    entry_id      bigint      NOT NULL,
    status        text        NOT NULL,
    why           text        NOT NULL,
    at            timestamptz NOT NULL,
    PRIMARY KEY (merchant_id, agreement_id, entry_id)
);

-- What was asked or told to end an agreement, what came too late included.
CREATE TABLE agreement_revocations (
    merchant_id   integer     NOT NULL,
    agreement_id  bigint      NOT NULL,
    revocation_id bigint      NOT NULL,
    status        text        NOT NULL,               -- the agreement's behind it, or REVOCATION_FAILED
    why           text        NOT NULL,
    at            timestamptz NOT NULL,
    PRIMARY KEY (merchant_id, agreement_id, revocation_id)
);

-- The charges under an agreement.  A row is there before its payment: who has one was let in before the agreement ended.
CREATE TABLE agreement_payments (
    merchant_id   integer     NOT NULL,
    agreement_id  bigint      NOT NULL,
    payment_id    bigint      NOT NULL,
    PRIMARY KEY (merchant_id, agreement_id, payment_id)
);
