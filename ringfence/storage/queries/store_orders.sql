-- Carts that were handed in to be collected.

-- place --
-- Keep a cart; where the trip has one already, nothing is returned.
INSERT INTO store_orders (merchant_id, store, trip, started_at, order_id, currency, minor, cart, actor, placed_at, ending)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, '')
ON CONFLICT (merchant_id, store, trip, started_at) DO NOTHING
RETURNING order_id;

-- of_trip --
-- The cart of a trip that began then.
SELECT merchant_id, store, trip, started_at, order_id, currency, minor, cart, actor, placed_at, ended_at, ending
FROM store_orders WHERE merchant_id = $1 AND store = $2 AND trip = $3 AND started_at = $4;

-- by_id --
-- One of them.
SELECT merchant_id, store, trip, started_at, order_id, currency, minor, cart, actor, placed_at, ended_at, ending
FROM store_orders WHERE merchant_id = $1 AND order_id = $2;

-- end --
-- Nothing is left to do about it.
UPDATE store_orders SET ended_at = $3, ending = $4 WHERE merchant_id = $1 AND order_id = $2 AND ended_at IS NULL;
