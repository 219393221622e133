-- Receipts that were given out, and the trips that one may be asked for.

-- put --
-- Keep a receipt; nothing comes back where there is one of that issue.
INSERT INTO receipts (merchant_id, trip, payment_id, operation_id, issue, receipt_id, content, issued_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (merchant_id, trip, payment_id, operation_id, issue) DO NOTHING
RETURNING receipt_id;

-- of_trip --
-- The latest receipt of everything that happened to a payment ($3) of a trip ($2).
SELECT DISTINCT ON (operation_id) merchant_id, trip, payment_id, operation_id, issue, receipt_id, content, issued_at
FROM receipts WHERE merchant_id = $1 AND trip = $2 AND payment_id = $3
ORDER BY operation_id, issue DESC;

-- by_id --
-- One of them.
SELECT merchant_id, trip, payment_id, operation_id, issue, receipt_id, content, issued_at
FROM receipts WHERE merchant_id = $1 AND receipt_id = $2;

-- charged --
-- The trips of a merchant ($1) that began from $2 until before $3 with a card that ends in $4 and were charged one of the amounts $5 (minor
-- units of one of the currencies $6, place by place), in whichever store or in $7; at most $8 of them.  Each card is looked up by its trip
-- (OFFSET keeps it so), never the other way round: a day has so many trips, and nothing finds cards by their digits.
SELECT t.store, t.name
FROM (
    SELECT store, name, number, payment_id, card_id FROM trips
    WHERE merchant_id = $1 AND started_at >= $2 AND started_at < $3 AND ($7 = '' OR store = $7) OFFSET 0) t
CROSS JOIN LATERAL (SELECT 1 FROM cards c WHERE c.merchant_id = $1 AND c.card_id = t.card_id AND c.last4 = $4 OFFSET 0) c
JOIN operations o ON o.merchant_id = $1 AND o.payment_id = t.payment_id AND o.kind = 'capture'
JOIN unnest($5::bigint[], $6::text[]) AS wanted (minor, currency) ON wanted.minor = o.minor AND wanted.currency = o.currency
WHERE EXISTS (
    SELECT FROM outcomes x
    WHERE x.merchant_id = $1 AND x.payment_id = o.payment_id AND x.operation_id = o.operation_id AND x.result = 'approved')
ORDER BY t.number LIMIT $8;
