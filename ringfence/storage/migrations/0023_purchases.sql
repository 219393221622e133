-- What retailers are told of carts that left their stores.

CREATE TABLE purchases (
    merchant_id    integer     NOT NULL,
    number         bigint      NOT NULL,                -- the trip's
    store          text        NOT NULL,
    trip           text        NOT NULL,                -- its name
    began_at       timestamptz NOT NULL,                -- the trip's start: one that begins anew is told anew; business time, as all times here
    body           bytea       NOT NULL,                -- what is told, but for what differs between attempts; empty once nobody needs it
    state          text        NOT NULL CHECK (state IN ('waiting', 'taken', 'refused', 'given_up')),
    attempts       smallint    NOT NULL DEFAULT 0,
    status         smallint,                            -- of the last answer; null for none
    note           text        NOT NULL DEFAULT '',
    purchase_id    text        NOT NULL DEFAULT '',     -- the retailer's name for it; '' also where nothing was bought
    asked_at       timestamptz NOT NULL,
    deadline_at    timestamptz NOT NULL,
    ended_at       timestamptz,
    PRIMARY KEY (merchant_id, number)
);
CREATE INDEX purchases_ended ON purchases (merchant_id, ended_at) WHERE body <> '';
