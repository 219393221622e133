-- put_purchase --
-- What a retailer is to be told of a trip; nothing is returned where it is told already, unless the trip has begun anew since.
INSERT INTO purchases AS p (merchant_id, number, store, trip, began_at, body, state, asked_at, deadline_at)
VALUES ($1::int, $2::bigint, $3::text, $4::text, $5::timestamptz, $6::bytea, 'waiting', $7::timestamptz, $8::timestamptz)
ON CONFLICT (merchant_id, number) DO UPDATE
SET began_at = excluded.began_at, body = excluded.body, state = 'waiting', attempts = 0, status = NULL, note = '', purchase_id = '',
    asked_at = excluded.asked_at, deadline_at = excluded.deadline_at, ended_at = NULL
WHERE p.began_at <> excluded.began_at
RETURNING number;

-- purchase --
-- One, by its trip.
SELECT merchant_id, number, store, trip, body, state, attempts, status, note, purchase_id, asked_at, deadline_at, ended_at
FROM purchases WHERE merchant_id = $1::int AND number = $2::bigint;

-- purchases --
-- The newest of a merchant, in one state unless $2 is empty.
SELECT merchant_id, number, store, trip, body, state, attempts, status, note, purchase_id, asked_at, deadline_at, ended_at
FROM purchases WHERE merchant_id = $1::int AND ($2::text = '' OR state = $2) ORDER BY number DESC LIMIT $3::int;

-- note_purchase --
-- What came of an attempt; it is told again unless it has ended ($4).
UPDATE purchases
SET attempts = attempts + 1, status = $3::smallint, state = $4::text, note = $5::text, purchase_id = $6::text,
    ended_at = CASE WHEN $4 <> 'waiting' THEN $7::timestamptz END, body = CASE WHEN $4 = 'taken' THEN ''::bytea ELSE body END
WHERE merchant_id = $1::int AND number = $2::bigint AND state = 'waiting'
RETURNING number;

-- again --
-- Tell those of a merchant again that were refused or given up: one trip's, or all ($2 is 0); until $3.
UPDATE purchases SET state = 'waiting', ended_at = NULL, deadline_at = $3::timestamptz
WHERE merchant_id = $1::int AND ($2::bigint = 0 OR number = $2) AND state IN ('refused', 'given_up') AND body <> ''
RETURNING number;

-- forget_purchases --
-- What was told of carts that ended before $2 is forgotten; that they were, stays.
UPDATE purchases SET body = '' WHERE merchant_id = $1::int AND ended_at < $2::timestamptz AND body <> '';
