-- Where shoppers of a store want their receipts.

-- put --
-- Register a shopper, or change the address.
INSERT INTO shoppers (merchant_id, store, shopper, email, changed_at) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (merchant_id, store, shopper) DO UPDATE SET email = excluded.email, changed_at = excluded.changed_at;

-- email --
-- A shopper's address.
SELECT email FROM shoppers WHERE merchant_id = $1 AND store = $2 AND shopper = $3;

-- listed --
-- Shoppers of a store after $3, in the order of their ids.
SELECT shopper, email, changed_at FROM shoppers WHERE merchant_id = $1 AND store = $2 AND shopper > $3 ORDER BY shopper LIMIT $4;

-- forget --
-- Forget a shopper.
DELETE FROM shoppers WHERE merchant_id = $1 AND store = $2 AND shopper = $3 RETURNING shopper;
