-- Wallets: refunds that the other side takes and ends part by part, and which of Amazon's objects belongs to which message of ours.

-- What became of a part of a refund in an attempt: done, failed and moved to other captures, or stuck.  A part whose state is asked was made
-- instead of one that failed; those that a refund began with stand in its allotment.
CREATE TABLE refund_parts (
    merchant_id  integer  NOT NULL,
    payment_id   bigint   NOT NULL,
    operation_id bigint   NOT NULL,
    attempt      smallint NOT NULL,
    part         smallint NOT NULL,
    capture_id   bigint   NOT NULL,
    minor        bigint   NOT NULL CHECK (minor > 0),
    state        text     NOT NULL,
    batch_id     bigint   NOT NULL,
    PRIMARY KEY (merchant_id, payment_id, operation_id, part, attempt)
);

-- One message to Amazon Pay and its object; stored before it is asked for the first time.
CREATE TABLE amazon_objects (
    merchant_id   integer     NOT NULL,
    key           text        NOT NULL,                         -- the message's; of a part of a refund with its number behind a dot
    payment_id    bigint      NOT NULL,
    operation_id  bigint      NOT NULL,
    kind          text        NOT NULL,                         -- session, charge, capture, cancel, refund
    minor         bigint      NOT NULL,
    session_id    text        NOT NULL,                         -- ids are empty until they are known
    permission_id text        NOT NULL,
    charge_id     text        NOT NULL,
    refund_id     text        NOT NULL,
    holds         boolean     NOT NULL,                         -- its charge is one that waits for a capture
    undone        boolean     NOT NULL,                         -- nothing may come of it any more
    state         text        NOT NULL,                         -- as it was read last
    begun_at      timestamptz NOT NULL,                         -- wall time
    PRIMARY KEY (merchant_id, key)
) WITH (fillfactor = 70);

CREATE INDEX amazon_objects_payment ON amazon_objects (merchant_id, payment_id, operation_id);
-- A session pays for one payment, and a charge is captured or canceled by one message.
CREATE UNIQUE INDEX amazon_objects_session ON amazon_objects (merchant_id, session_id) WHERE session_id <> '';
CREATE UNIQUE INDEX amazon_objects_taken ON amazon_objects (merchant_id, charge_id) WHERE kind IN ('capture', 'cancel');
-- What a notification names.
CREATE INDEX amazon_objects_charge ON amazon_objects (merchant_id, charge_id) WHERE charge_id <> '';
CREATE INDEX amazon_objects_refund ON amazon_objects (merchant_id, refund_id) WHERE refund_id <> '';
CREATE INDEX amazon_objects_permission ON amazon_objects (merchant_id, permission_id) WHERE permission_id <> '';

-- Notifications that were taken in, so that a second delivery does nothing.  Whose they are is Amazon's word for the merchant until it is ours.
CREATE TABLE amazon_notifications (
    merchant_id     integer     NOT NULL,
    notification_id text        NOT NULL,
    received_at     timestamptz NOT NULL,                       -- wall time
    PRIMARY KEY (merchant_id, notification_id)
);
