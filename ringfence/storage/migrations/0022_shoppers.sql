-- What the door of stores keeps beside trips: where shoppers want their receipts, and the carts that were handed in to be collected.

CREATE TABLE shoppers (
    merchant_id integer     NOT NULL,
    store       text        NOT NULL,
    shopper     text        NOT NULL,                 -- the id that was given when the shopper registered
    email       text        NOT NULL,                 -- personal: nothing else is known of a shopper, and forgetting one deletes the row
    changed_at  timestamptz NOT NULL,                 -- business time
    PRIMARY KEY (merchant_id, store, shopper)
);

CREATE TABLE store_orders (
    merchant_id integer     NOT NULL,
    store       text        NOT NULL,
    trip        text        NOT NULL,                 -- shoppingTripId
    started_at  timestamptz NOT NULL,                 -- the trip's start (business time): one that begins anew may have another cart
    order_id    bigint      NOT NULL,
    currency    text        NOT NULL,
    minor       bigint      NOT NULL,                 -- what is to be charged, in minor units
    cart        bytea       NOT NULL,                 -- the cart as it was read, as a JSON text: what a repeat is compared with, and a receipt shows
    actor       text        NOT NULL,                 -- who handed it in
    placed_at   timestamptz NOT NULL,                 -- business time
    ended_at    timestamptz,                          -- business time: nothing is left to do
    ending      text        NOT NULL,                 -- how it ended, '' before
    PRIMARY KEY (merchant_id, store, trip, started_at)
);

CREATE UNIQUE INDEX store_orders_by_id ON store_orders (merchant_id, order_id);
