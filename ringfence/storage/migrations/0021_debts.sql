-- Debts: goods that left a store unpaid, by trip and by card, and carts that the service charges by itself.

INSERT INTO transfer_kinds (kind, name, debit, credit) VALUES (64, 'debt_lowered', 'debt.incurred', 'debt.owed');

-- A trip's account, from the moment that anybody says what its cart costs: by the trip's payment, since one that is begun anew has another.
CREATE TABLE debts (
    merchant_id   integer     NOT NULL,
    payment_id    bigint      NOT NULL,
    number        bigint      NOT NULL,                         -- the trip's
    processor     text        NOT NULL,
    store         text        NOT NULL,
    trip          text        NOT NULL,                         -- its name in that store
    fingerprint   bytea       NOT NULL,                         -- of the card: debts are owed by cards
    currency      text        NOT NULL,
    total         bigint      NOT NULL,                         -- the price of the cart; this and what follows in minor units
    captured      bigint      NOT NULL,                         -- by the trip's payment, when the account was closed
    rejected      bigint      NOT NULL,                         -- what clearing did not let stand of it
    collected     bigint      NOT NULL,                         -- what we took since
    reported      bigint      NOT NULL,                         -- what the retailer says was paid beside what we captured
    incurred      bigint      NOT NULL,
    recovered     bigint      NOT NULL,
    forgiven      bigint      NOT NULL,
    settled       bigint,                                       -- the retailer's latest report of all that was paid
    known         bigint      NOT NULL,                         -- what was captured, or about to be, when it came
    is_closed     boolean     NOT NULL,
    owed          bigint      NOT NULL,
    strategy      text        NOT NULL,                         -- write_off, take_standing, search; retailer: by his own doing
    reason        text        NOT NULL,
    actor         text        NOT NULL,                         -- who said last what it costs
    reported_at   timestamptz,                                  -- of the latest report, as the retailer says
    opened_at     timestamptz NOT NULL,                         -- business time, like the rest
    closed_at     timestamptz,
    changed_at    timestamptz NOT NULL,
    PRIMARY KEY (merchant_id, payment_id),
    CHECK (owed >= 0 AND recovered >= 0 AND forgiven >= 0),
    CHECK (NOT is_closed OR total = captured - rejected + incurred AND owed = incurred - recovered - forgiven)
) WITH (fillfactor = 70);
CREATE INDEX debts_owed ON debts (merchant_id, fingerprint) WHERE owed > 0;
CREATE INDEX debts_open ON debts (merchant_id, payment_id) WHERE NOT is_closed;
CREATE INDEX debts_trip ON debts (merchant_id, trip);

-- What an account moved: booked on its payment as a notice whose identity is the payment and the place.
CREATE TABLE debt_bookings (
    merchant_id   integer     NOT NULL,
    payment_id    bigint      NOT NULL,
    place         integer     NOT NULL,
    noticed       text        NOT NULL,                         -- core/notices.py
    minor         bigint      NOT NULL,
    actor         text        NOT NULL,                         -- whose word it follows from
    note          text        NOT NULL,                         -- why, where a person said so
    made_at       timestamptz NOT NULL,
    booked_at     timestamptz,
    PRIMARY KEY (merchant_id, payment_id, place)
) WITH (fillfactor = 80);

-- Payment links that were made for a debt.
CREATE TABLE debt_links (
    merchant_id   integer     NOT NULL,
    payment_id    bigint      NOT NULL,                         -- the trip's
    link_id       bigint      NOT NULL,
    made_at       timestamptz NOT NULL,
    actor         text        NOT NULL,
    PRIMARY KEY (merchant_id, payment_id, link_id)
);

-- Carts that the service charges by itself, and how far it has come.
CREATE TABLE collections (
    merchant_id   integer     NOT NULL,
    number        bigint      NOT NULL,                         -- the trip's
    store         text        NOT NULL,
    trip          text        NOT NULL,
    total         bigint      NOT NULL,
    strategy      text        NOT NULL,
    step          bigint      NOT NULL,                         -- of a search, in minor units
    most          integer     NOT NULL,                         -- questions
    state         text        NOT NULL,                         -- asking, capturing, cancelling, done
    minor         bigint      NOT NULL,                         -- what is to be captured
    reason        text        NOT NULL,
    tried         bigint[]    NOT NULL,                         -- asked for, what stood then, 1 yes 0 no -1 never again; and so on
    actor         text        NOT NULL,
    asked_at      timestamptz NOT NULL,
    changed_at    timestamptz NOT NULL,
    PRIMARY KEY (merchant_id, number)
) WITH (fillfactor = 70);
