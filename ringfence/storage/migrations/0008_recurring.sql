-- Plans: payments that repeat, the due dates of each, and every attempt to charge one.
--
-- All times are business time.

-- What was agreed, and how far it has come.  The number is counted per merchant; small as it is, it is never a payment's.
CREATE TABLE plans (
    merchant_id   integer     NOT NULL,
    number        bigint      NOT NULL,
    plan_id       text        NOT NULL,                         -- the merchant's name for it
    version       integer     NOT NULL DEFAULT 0,               -- grows with every change
    status        text        NOT NULL,                         -- active, paused, ended, stopped
    reason        text        NOT NULL DEFAULT '',              -- why it stands as it does
    kind          text        NOT NULL,                         -- charge, invoice
    token_name    text        NOT NULL,                         -- '' for invoices
    minor         bigint      NOT NULL,                         -- of due dates that are opened from now on
    currency      text        NOT NULL,
    email         text        NOT NULL,                         -- the customer's
    description   text        NOT NULL,
    start         date        NOT NULL,
    every         integer     NOT NULL,
    unit          text        NOT NULL,                         -- day, week, month, year
    anchor        smallint    NOT NULL,                         -- the day of the month that is meant
    zone          text        NOT NULL,                         -- where a due date begins
    until         date,
    count         integer,
    missed        text        NOT NULL,                         -- charge_missed, skip_missed
    failed        text        NOT NULL,                         -- skip, pause, stop
    notice_days   smallint    NOT NULL,
    place         integer     NOT NULL,                         -- of the next due date to be opened, from 0
    announced     integer     NOT NULL,                         -- the place that was announced last, -1 for none
    charged       integer     NOT NULL DEFAULT 0,               -- due dates that were charged or invoiced
    notices       integer     NOT NULL DEFAULT 0,               -- what the merchant was told of it, counted
    hard_card     bigint,                                       -- the card whose hard decline stopped it
    paused_at     timestamptz,
    created_at    timestamptz NOT NULL,
    changed_at    timestamptz NOT NULL,
    PRIMARY KEY (merchant_id, number),
    UNIQUE (merchant_id, plan_id)
) WITH (fillfactor = 70);

-- A due date that was opened: charged once, or not at all.
CREATE TABLE plan_periods (
    merchant_id   integer     NOT NULL,
    number        bigint      NOT NULL,
    place         integer     NOT NULL,
    due_date      date        NOT NULL,
    minor         bigint      NOT NULL,
    state         text        NOT NULL,                         -- open, asked, charged, invoiced, failed, skipped, dropped
    attempts      integer     NOT NULL,                         -- the number of the last that has begun
    declines      integer     NOT NULL,
    next_at       timestamptz NOT NULL,
    first_at      timestamptz,                                  -- of the first attempt
    payment_id    bigint,                                       -- that charged it
    link          text        NOT NULL DEFAULT '',              -- of its invoice
    reason        text        NOT NULL DEFAULT '',
    changed_at    timestamptz NOT NULL,
    PRIMARY KEY (merchant_id, number, place)
) WITH (fillfactor = 70);
CREATE INDEX plan_periods_unfinished ON plan_periods (merchant_id, number) WHERE state IN ('open', 'asked');

-- What came of each attempt; the payments themselves are where all payments are.
CREATE TABLE plan_attempts (
    merchant_id   integer     NOT NULL,
    number        bigint      NOT NULL,
    place         integer     NOT NULL,
    attempt       integer     NOT NULL,
    reference     text        NOT NULL,                         -- the payment's merchant_reference
    card_id       bigint,
    payment_id    bigint,
    result        text        NOT NULL,                         -- approved, declined, reversed, not_asked, refused
    response_code text        NOT NULL,
    advice        text        NOT NULL,
    ended_at      timestamptz NOT NULL,
    PRIMARY KEY (merchant_id, number, place, attempt)
);
-- How many tries of a card a scheme still allows.
CREATE INDEX plan_attempts_declined ON plan_attempts (merchant_id, card_id, ended_at) WHERE result = 'declined';
