-- Debts: accounts of trips by their payments, what they moved, the links made for them; and carts that are being charged.

-- began --
-- Who carries out a payment.
SELECT processor FROM operations WHERE merchant_id = $1::integer AND payment_id = $2::bigint AND operation_id = $2::bigint;

-- open --
-- Make an account, unless it is there.
INSERT INTO debts VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26, $27)
ON CONFLICT (merchant_id, payment_id) DO NOTHING;

-- lock --
-- An account, held until the commit: what is decided about it is decided here.
SELECT * FROM debts WHERE merchant_id = $1::integer AND payment_id = $2::bigint FOR UPDATE;

-- one --
-- An account.
SELECT * FROM debts WHERE merchant_id = $1::integer AND payment_id = $2::bigint;

-- named --
-- Accounts by the trip's name in its store ($2), or by the payment's id ($3), of one merchant ($1) or any, the latest first.
SELECT d.* FROM merchants m JOIN debts d USING (merchant_id)
WHERE ($1::integer IS NULL OR d.merchant_id = $1) AND (d.trip = $2::text OR d.payment_id = $3::bigint)
ORDER BY d.payment_id DESC LIMIT 100;

-- listed --
-- Accounts of one merchant ($1) or all, only those that owe something ($2), the latest first, at most $3.
SELECT d.* FROM merchants m JOIN debts d USING (merchant_id)
WHERE ($1::integer IS NULL OR d.merchant_id = $1) AND (NOT $2::boolean OR d.owed > 0)
ORDER BY d.payment_id DESC LIMIT $3::integer;

-- save --
-- Store what has changed of an account that is held.
UPDATE debts
SET total = $3, captured = $4, rejected = $5, collected = $6, reported = $7, incurred = $8, recovered = $9, forgiven = $10, settled = $11,
    known = $12, is_closed = $13, owed = $14, strategy = $15, reason = $16, actor = $17, reported_at = $18, closed_at = $19, changed_at = $20
WHERE merchant_id = $1::integer AND payment_id = $2::bigint;

-- owed --
-- What a card owes, by currency.
SELECT currency, sum(owed)::bigint AS owed FROM debts
WHERE merchant_id = $1::integer AND fingerprint = $2::bytea AND owed > 0 GROUP BY currency;

-- moved --
-- What the transfers of a payment say that it captured, and what clearing rejected of it; how it stands, what is about to be captured, and
-- until when it can be.
SELECT coalesce(sum(t.minor) FILTER (WHERE k.name = 'capture'), 0)::bigint AS captured,
       coalesce(sum(t.minor) FILTER (WHERE k.name = 'capture_rejected'), 0)::bigint AS rejected,
       coalesce((SELECT p.status FROM payments p WHERE p.merchant_id = $1 AND p.payment_id = $2), 'created') AS status,
       coalesce((SELECT p.pending_capture FROM payments p WHERE p.merchant_id = $1 AND p.payment_id = $2), 0)::bigint AS pending,
       (SELECT p.expires_at FROM payments p WHERE p.merchant_id = $1 AND p.payment_id = $2) AS expires_at
FROM transfers t JOIN transfer_kinds k USING (kind)
WHERE t.merchant_id = $1::integer AND t.payment_id = $2::bigint;

-- book --
-- Keep what is to be booked, behind what is there already.
INSERT INTO debt_bookings
SELECT $1::integer, $2::bigint,
       coalesce((SELECT max(b.place) FROM debt_bookings b WHERE b.merchant_id = $1 AND b.payment_id = $2), 0) + 1,
       $3::text, $4::bigint, $5::text, $6::text, $7::timestamptz, NULL;

-- bookings --
-- What an account moved, in order.
SELECT place, noticed, minor, actor, note, made_at, booked_at FROM debt_bookings
WHERE merchant_id = $1::integer AND payment_id = $2::bigint ORDER BY place;

-- note_booked --
-- It is on its payment.
UPDATE debt_bookings SET booked_at = $4::timestamptz
WHERE merchant_id = $1::integer AND payment_id = $2::bigint AND place = $3::integer AND booked_at IS NULL;

-- link --
-- Remember a link that was made for a debt.
INSERT INTO debt_links VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING;

-- links --
-- The links made for a debt, the oldest first.
SELECT link_id FROM debt_links WHERE merchant_id = $1::integer AND payment_id = $2::bigint ORDER BY link_id;

-- waiting_links --
-- The links made for debts of merchants ($1) that are still owed, and not known to be paid.
SELECT x.merchant_id, x.link_id
FROM unnest($1::integer[]) AS m (merchant_id) JOIN debts d USING (merchant_id) JOIN debt_links x USING (merchant_id, payment_id)
JOIN links l ON l.merchant_id = x.merchant_id AND l.link_id = x.link_id
WHERE d.owed > 0 AND l.paid_at IS NULL
ORDER BY x.merchant_id;

-- collected --
-- What was captured by the payments of a debt's links that are known to be paid.
SELECT coalesce(sum(p.captured), 0)::bigint
FROM debt_links x JOIN links l USING (merchant_id, link_id) JOIN payments p ON p.merchant_id = l.merchant_id AND p.payment_id = l.payment_id
WHERE x.merchant_id = $1::integer AND x.payment_id = $2::bigint AND l.paid_at IS NOT NULL;

-- behind --
-- Debts of merchants ($1) that are still owed, and for which more was taken, by links or by the trip's own payment, than is written down.
SELECT d.merchant_id, d.payment_id
FROM unnest($1::integer[]) AS m (merchant_id) JOIN debts d USING (merchant_id) JOIN payments p USING (merchant_id, payment_id)
WHERE d.owed > 0 AND d.is_closed
  AND d.collected < greatest(0, p.captured - d.captured + d.rejected) + (
    SELECT coalesce(sum(q.captured), 0)
    FROM debt_links x JOIN links l ON l.merchant_id = x.merchant_id AND l.link_id = x.link_id
    JOIN payments q ON q.merchant_id = l.merchant_id AND q.payment_id = l.payment_id
    WHERE x.merchant_id = d.merchant_id AND x.payment_id = d.payment_id AND l.paid_at IS NOT NULL)
ORDER BY d.merchant_id, d.payment_id;

-- ended --
-- Accounts of merchants ($1) that are open, and whose trip's payment has ended.
SELECT d.merchant_id, d.payment_id
FROM unnest($1::integer[]) AS m (merchant_id) JOIN debts d USING (merchant_id) JOIN payments p USING (merchant_id, payment_id)
WHERE NOT d.is_closed AND p.pending_capture = 0 AND (p.captured > 0 OR p.status IN ('voided', 'declined'))
ORDER BY d.merchant_id, d.payment_id;

-- begin_collection --
-- Keep a cart that is to be charged, in the place of one of a trip that was begun anew since.
INSERT INTO collections AS c VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $14)
ON CONFLICT (merchant_id, number) DO UPDATE
SET total = excluded.total, strategy = excluded.strategy, step = excluded.step, most = excluded.most, state = excluded.state,
    minor = excluded.minor, reason = excluded.reason, tried = excluded.tried, actor = excluded.actor, asked_at = excluded.asked_at,
    changed_at = excluded.changed_at
WHERE c.asked_at < $15::timestamptz;

-- collection --
-- A cart that is being charged, or was.
SELECT * FROM collections WHERE merchant_id = $1::integer AND number = $2::bigint;

-- save_collection --
-- How far it has come, unless somebody came further meanwhile.
UPDATE collections SET state = $3, minor = $4, reason = $5, tried = $6, changed_at = $7
WHERE merchant_id = $1::integer AND number = $2::bigint AND cardinality(tried) <= cardinality($6::bigint[]) AND state <> 'done';
