-- Authentications of payers (3-D Secure): one row for each time that a card's issuer was asked who pays.

CREATE TABLE authentications (
    merchant_id       integer     NOT NULL,
    authentication_id bigint      NOT NULL,
    payment_id        bigint      NOT NULL,           -- the payment it is for, 0 for one that is made ahead of its payment
    card_id           bigint      NOT NULL,           -- the vault's record: one for each number of the merchant
    minor             bigint      NOT NULL,
    currency          text        NOT NULL,
    mode              text        NOT NULL,           -- required, flexible
    indicator         text        NOT NULL,           -- what was asked for: 01 no preference, 04 a challenge is mandated
    soft_decline      text        NOT NULL,           -- DE 39 that it follows (1A, 65): behind it the payment is asked for again, under a key of its own
    status            text        NOT NULL,           -- Y A N U R I; while it is pending C D M; E where nothing was answered
    reason            text        NOT NULL,
    cancelled         text        NOT NULL,           -- who ended a challenge early
    eci               text        NOT NULL,
    cavv              text        NOT NULL,
    ds_id             text        NOT NULL,
    version           text        NOT NULL,
    acs_id            text        NOT NULL,           -- the challenge at the issuer, '' for none
    token_hash        bytea,                          -- of the secret in its page's address; null where it has no page
    has_code          boolean     NOT NULL,           -- a security code was given and waits in memory
    leave_url         text        NOT NULL,           -- where the browser goes behind one that is made ahead of its payment
    made_at           timestamptz NOT NULL,           -- business time
    due_at            timestamptz NOT NULL,           -- business time: a challenge must have ended by then
    ended_at          timestamptz,                    -- business time
    expires_at        timestamptz NOT NULL,           -- business time: it may be used until then
    claim             text,                           -- names whoever carries on behind its end; the payment's next message is theirs
    used_by           bigint,                         -- the operation that used it
    PRIMARY KEY (merchant_id, authentication_id)
);
-- Of a payment: what fences whoever carries on, and what its story tells.
CREATE INDEX authentications_payment ON authentications (merchant_id, payment_id) WHERE payment_id > 0;
-- By their cryptogram those that were made ahead of their payments: so that each is used once, whatever else a payment says of it.
CREATE INDEX authentications_ahead ON authentications (merchant_id, cavv) WHERE payment_id = 0 AND cavv <> '';
