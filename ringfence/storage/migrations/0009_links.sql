-- Payment links: invoices that are paid on a page of ours, and what is sent about them.  Times are business time.

-- A link's address is made from its key and number (engine/link_addresses); nothing here opens it.
CREATE TABLE links (
    merchant_id     integer     NOT NULL,
    link_id         bigint      NOT NULL,
    reference       text        NOT NULL,                       -- the merchant's name for the order
    order_key       text        NOT NULL,                       -- the key of its payment; the k-th try of it adds #k
    command         text        NOT NULL,                       -- PURCHASE, AUTHORIZATION
    minor           bigint      NOT NULL CHECK (minor > 0),
    currency        text        NOT NULL,
    language        text        NOT NULL,
    access_code     text        NOT NULL,                       -- whose response phrase signs; '' for the merchant's first
    email           text        NOT NULL,                       -- what is said of the customer is '' once it was erased
    phone           text        NOT NULL,
    name            text        NOT NULL,
    description     text        NOT NULL,
    payment_option  text        NOT NULL,
    return_url      text        NOT NULL,
    media           text[]      NOT NULL,                       -- email, sms: how its payer hears of it
    expires_at      timestamptz NOT NULL,
    created_at      timestamptz NOT NULL,
    created_by      text        NOT NULL,
    cancelled_at    timestamptz,
    cancelled_by    text        NOT NULL DEFAULT '',
    holder          bytea       NOT NULL DEFAULT '',            -- a digest of who has it open
    held_until      timestamptz,
    paid_at         timestamptz,                                -- noted once it was seen; the payment itself is the truth
    payment_id      bigint,
    PRIMARY KEY (merchant_id, link_id),
    UNIQUE (merchant_id, reference)
) WITH (fillfactor = 85);
CREATE INDEX links_expiring ON links (merchant_id, expires_at) WHERE paid_at IS NULL AND cancelled_at IS NULL;

-- What was asked to be sent about links.  Each has a job of the queue "message" until it is sent, given up or needless.
CREATE TABLE messages (
    merchant_id     integer     NOT NULL,
    message_id      bigint      NOT NULL,
    link_id         bigint      NOT NULL,
    medium          text        NOT NULL,                       -- email, sms
    recipient       text        NOT NULL,                       -- '' once it was erased
    asked_at        timestamptz NOT NULL,
    deadline_at     timestamptz NOT NULL,                       -- given up from then on
    state           text        NOT NULL DEFAULT 'waiting',     -- waiting, sent, failed, needless
    note            text        NOT NULL DEFAULT '',            -- what the last try met, without anybody's address
    ended_at        timestamptz,
    PRIMARY KEY (merchant_id, message_id)
);
CREATE INDEX messages_of_link ON messages (merchant_id, link_id, asked_at);

-- The sandbox's inbox: what would have been sent, as it would have arrived.
CREATE TABLE inbox (
    merchant_id     integer     NOT NULL,
    message_id      bigint      NOT NULL,
    medium          text        NOT NULL,
    recipient       text        NOT NULL,
    sender          text        NOT NULL,
    subject         text        NOT NULL,
    body            text        NOT NULL,
    html            text        NOT NULL,
    received_at     timestamptz NOT NULL,
    PRIMARY KEY (merchant_id, message_id)
);
