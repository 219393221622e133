-- Disputes: cases that issuers raise about payments, what both sides said about them, evidence, what they moved, and reports of them.
--
-- All times are business time.  Amounts are minor units of the payment's currency.

-- A case and where it stands (core/dispute.py).
CREATE TABLE disputes (
    merchant_id   integer     NOT NULL,
    dispute_id    bigint      NOT NULL,
    payment_id    bigint      NOT NULL,
    capture_id    bigint      NOT NULL,                         -- the operation that was captured, 0 for the payment as a whole
    processor     text        NOT NULL,
    case_name     text        NOT NULL,                         -- the processor's name for it
    currency      text        NOT NULL,
    door          text        NOT NULL,                         -- of the payment's origin
    reference     text,                                         -- and its reference there
    reason        text        NOT NULL,                         -- core/dispute_reasons.py
    reason_code   text        NOT NULL,                         -- the scheme's own
    note          text        NOT NULL,                         -- what the case was opened with
    minor         bigint      NOT NULL,
    phase         text        NOT NULL,
    status        text        NOT NULL,
    due_at        timestamptz,
    round         integer     NOT NULL,
    offered       bigint      NOT NULL,
    heard         integer     NOT NULL,
    taken         bigint      NOT NULL,
    returned      bigint      NOT NULL,
    lost          bigint      NOT NULL,
    closing       text,
    closing_note  text        NOT NULL DEFAULT '',
    opened_at     timestamptz NOT NULL,
    changed_at    timestamptz NOT NULL,
    PRIMARY KEY (merchant_id, dispute_id),
    UNIQUE (merchant_id, processor, case_name),
    CHECK (taken >= returned + lost AND minor > 0)
) WITH (fillfactor = 70);
CREATE INDEX disputes_payment ON disputes (merchant_id, payment_id);
CREATE INDEX disputes_opened ON disputes (merchant_id, opened_at);

-- What the processor told of a case: those behind the last one that was applied wait for their predecessors.
CREATE TABLE dispute_notices (
    merchant_id   integer     NOT NULL,
    dispute_id    bigint      NOT NULL,
    number        integer     NOT NULL,                         -- counted by the processor, from 1
    said          text        NOT NULL,
    minor         bigint      NOT NULL,
    phase         text        NOT NULL,
    due_at        timestamptz,
    note          text        NOT NULL,
    heard_at      timestamptz NOT NULL,
    PRIMARY KEY (merchant_id, dispute_id, number)
);

-- What the merchant answered, and when the processor had it (null: it is on its way, or overtaken).
CREATE TABLE dispute_answers (
    merchant_id   integer     NOT NULL,
    dispute_id    bigint      NOT NULL,
    round         integer     NOT NULL,
    action        text        NOT NULL,
    minor         bigint,
    resolution    text        NOT NULL,
    message       text        NOT NULL,
    actor         text        NOT NULL,
    asked_at      timestamptz NOT NULL,
    sent_at       timestamptz,
    PRIMARY KEY (merchant_id, dispute_id, round)
);

-- What both sides wrote to each other.
CREATE TABLE dispute_messages (
    merchant_id   integer     NOT NULL,
    dispute_id    bigint      NOT NULL,
    message_id    bigint      NOT NULL,
    sender        text        NOT NULL,                         -- merchant, provider
    phase         text        NOT NULL,
    content       text        NOT NULL,
    written_at    timestamptz NOT NULL,
    PRIMARY KEY (merchant_id, dispute_id, message_id)
);

-- Evidence.
CREATE TABLE dispute_files (
    merchant_id   integer     NOT NULL,
    dispute_id    bigint      NOT NULL,
    file_id       bigint      NOT NULL,
    name          text        NOT NULL,
    content_type  text        NOT NULL,
    content       bytea       NOT NULL,
    phase         text        NOT NULL,
    sender        text        NOT NULL,
    synced        boolean     NOT NULL DEFAULT false,           -- the processor has it
    added_at      timestamptz NOT NULL,
    PRIMARY KEY (merchant_id, dispute_id, file_id)
);

-- What a case moved: booked on its payment as a notice whose identity is the dispute's id and the place.
CREATE TABLE dispute_bookings (
    merchant_id   integer     NOT NULL,
    dispute_id    bigint      NOT NULL,
    place         integer     NOT NULL,
    booking_id    bigint      NOT NULL,
    payment_id    bigint      NOT NULL,
    noticed       text        NOT NULL,                         -- chargeback, chargeback_returned, dispute_lost
    minor         bigint      NOT NULL,
    made_at       timestamptz NOT NULL,
    booked_at     timestamptz,
    PRIMARY KEY (merchant_id, dispute_id, place),
    UNIQUE (merchant_id, booking_id)
) WITH (fillfactor = 80);
CREATE INDEX dispute_bookings_payment ON dispute_bookings (merchant_id, payment_id);

-- What merchants are to be told of disputes and their reports, as it was when it happened; handed_at: when a door took it.
CREATE TABLE dispute_events (
    merchant_id   integer     NOT NULL,
    event_id      bigint      NOT NULL,
    subject       bigint      NOT NULL,                         -- the dispute, or the report
    payment_id    bigint      NOT NULL,                         -- 0 for a report
    event         text        NOT NULL,
    payload       bytea       NOT NULL,                         -- JSON
    occurred_at   timestamptz NOT NULL,
    handed_at     timestamptz,
    PRIMARY KEY (merchant_id, event_id)
) WITH (fillfactor = 80);
CREATE INDEX dispute_events_subject ON dispute_events (merchant_id, subject, event_id);
CREATE INDEX dispute_events_waiting ON dispute_events (merchant_id, event_id) WHERE handed_at IS NULL;

-- Reports of disputes: a CSV file made later, and gone when its time is over.
CREATE TABLE dispute_reports (
    merchant_id   integer     NOT NULL,
    report_id     bigint      NOT NULL,
    since         timestamptz NOT NULL,
    until         timestamptz NOT NULL,
    webhook_url   text        NOT NULL,
    state         text        NOT NULL,                         -- pending, processed, failed, expired
    rows          integer     NOT NULL DEFAULT 0,
    content       bytea,
    asked_at      timestamptz NOT NULL,
    changed_at    timestamptz NOT NULL,
    expires_at    timestamptz,
    PRIMARY KEY (merchant_id, report_id)
);
