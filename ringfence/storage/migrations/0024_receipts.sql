-- Receipts that were given out: what they say never changes.

CREATE TABLE receipts (
    merchant_id  integer     NOT NULL,
    trip         bigint      NOT NULL,                  -- its number
    payment_id   bigint      NOT NULL,                  -- the trip's payment; 0 where nothing was ever held
    operation_id bigint      NOT NULL,                  -- the capture, or the refund; 0 where nothing was charged
    issue        smallint    NOT NULL,                  -- from 1: a later one replaces those before
    receipt_id   bigint      NOT NULL,
    content      bytea       NOT NULL,                  -- what it says (JSON): no expiry of a card, and four digits of its number
    issued_at    timestamptz NOT NULL,                  -- business time
    PRIMARY KEY (merchant_id, trip, payment_id, operation_id, issue)
);
CREATE UNIQUE INDEX receipts_by_id ON receipts (merchant_id, receipt_id);
