-- Trips through stores: who went in with which card, and what its payment is.

CREATE TABLE stores (
    merchant_id    integer     NOT NULL,
    store          text        NOT NULL,                -- as the door names it
    title          text        NOT NULL,                -- for people and receipts
    currency       text        NOT NULL,
    hold           bigint      NOT NULL,                -- what the gate holds, minor units; 0: nothing is held before an adjust
    least          bigint      NOT NULL,                -- a partial approval below it is given back, and the gate stays shut
    address        text[]      NOT NULL,
    merchant_shown text        NOT NULL,                -- the merchant's number, as receipts print it
    terminals      text[]      NOT NULL,                -- of the gates' readers
    changed_at     timestamptz NOT NULL,                -- business time
    PRIMARY KEY (merchant_id, store)
);

CREATE TABLE trips (
    merchant_id    integer     NOT NULL,
    store          text        NOT NULL,
    name           text        NOT NULL,                -- shoppingTripId
    number         bigint      NOT NULL,
    payment_id     bigint      NOT NULL,                -- its payment now; 0 for none
    holds          smallint    NOT NULL,                -- authorizations so far: numbers the key of the next one
    card_id        bigint      NOT NULL,                -- the vault's record; 0: entered without a card of ours
    shopper        text        NOT NULL,
    company        text        NOT NULL,                -- names trips that went in together; '' for one alone
    people         smallint    NOT NULL,                -- how many went in with this card
    card_read      bytea       NOT NULL,                -- what the reader recorded (JSON)
    currency       text        NOT NULL,
    hold           bigint      NOT NULL,                -- asked at the gate, minor units
    started_at     timestamptz NOT NULL,                -- business time, as all times here
    expires_at     timestamptz NOT NULL,
    never_expires  boolean     NOT NULL,
    refused        text        NOT NULL,                -- why the gate stayed shut, '' where it opened
    level          bigint,                              -- the target of an adjust that nobody had to be asked for ...
    level_behind   bigint      NOT NULL,                -- ... and the adjust before it, 0 for none
    cancelled_at   timestamptz,                         -- given up before anything was held
    ended_at       timestamptz,                         -- the shopper left
    alarms         smallint    NOT NULL,                -- how many were raised that it is not charged
    alarm_at       timestamptz,                         -- when the next one is due; null for none
    actor          text        NOT NULL,
    PRIMARY KEY (merchant_id, store, name)
);
CREATE UNIQUE INDEX trips_number ON trips (merchant_id, number);
CREATE INDEX trips_name ON trips (merchant_id, name);
CREATE INDEX trips_alarm ON trips (merchant_id, alarm_at) WHERE alarm_at IS NOT NULL;
CREATE INDEX trips_started ON trips (merchant_id, started_at, number);

-- Every payment a trip has had, the present one included.
CREATE TABLE trip_payments (
    merchant_id    integer     NOT NULL,
    payment_id     bigint      NOT NULL,
    number         bigint      NOT NULL,                -- the trip
    rejected_at    timestamptz,                         -- business time: somebody has heard that clearing refused its capture
    PRIMARY KEY (merchant_id, payment_id)
);
CREATE INDEX trip_payments_trip ON trip_payments (merchant_id, number);

-- Few payments have such a fact, and whoever looks for those of trips must not read the others.
CREATE INDEX notices_rejected ON notices (merchant_id, noticed_at) WHERE noticed = 'capture_rejected';
