-- heads --
-- The last batch of every lane.  Lanes are found by steps over the key, however many batches each of them has.
WITH RECURSIVE lanes AS (
    (SELECT lane FROM batches ORDER BY lane LIMIT 1)
    UNION ALL
    SELECT (SELECT b.lane FROM batches b WHERE b.lane > l.lane ORDER BY b.lane LIMIT 1)
    FROM lanes l WHERE l.lane IS NOT NULL
)
SELECT l.lane, h.number
FROM lanes l
CROSS JOIN LATERAL (SELECT b.number FROM batches b WHERE b.lane = l.lane ORDER BY b.number DESC LIMIT 1) h;

-- links --
-- Of every lane the first $3 batches behind a cursor ($1 lanes, $2 numbers; a lane that it does not name begins with its
-- first), in the order of their commits as far as clocks tell.
WITH RECURSIVE lanes AS (
    (SELECT lane FROM batches ORDER BY lane LIMIT 1)
    UNION ALL
    SELECT (SELECT b.lane FROM batches b WHERE b.lane > l.lane ORDER BY b.lane LIMIT 1)
    FROM lanes l WHERE l.lane IS NOT NULL
)
SELECT n.lane, n.number, n.batch_id, n.committed_at, n.rows
FROM lanes l
LEFT JOIN unnest($1::integer[], $2::bigint[]) AS c (lane, number) ON c.lane = l.lane
CROSS JOIN LATERAL (
    SELECT b.lane, b.number, b.batch_id, b.committed_at, b.rows
    FROM batches b WHERE b.lane = l.lane AND b.number > coalesce(c.number, 0)
    ORDER BY b.number LIMIT $3) n
ORDER BY n.committed_at, n.lane, n.number;

-- links_between --
-- The batches of lanes ($1) behind one number ($2) up to another ($3).
SELECT b.lane, b.number, b.batch_id, b.committed_at, b.rows
FROM unnest($1::integer[], $2::bigint[], $3::bigint[]) AS w (lane, behind, until)
JOIN batches b ON b.lane = w.lane AND b.number > w.behind AND b.number <= w.until
ORDER BY b.committed_at, b.lane, b.number;

-- links_committed --
-- The batches committed between two instants ($1 included, $2 not; wall time), those behind batch $3, by their ids.
SELECT b.lane, b.number, b.batch_id, b.committed_at, b.rows
FROM batches b
WHERE b.committed_at >= $1 AND b.committed_at < $2 AND b.batch_id > $3
ORDER BY b.batch_id LIMIT $4;

-- events --
-- The events of batches ($1), and single ones ($2 merchants, $3 payments, $4 sequences), each with the facts of its own
-- commit: its operation, that attempt's outcome if the same batch wrote it, and the operation that the payment began with
-- where that is another one; of a later operation also the sums of the payment's transfers as they were then, by kind; and of a capture that clearing
-- rejected, or a refund that came back, which that was (its id, kind, minor units, currency, door, details) and how much of it;
-- and of a payment that nobody was asked for, what the merchant said when he asked to give it up.
SELECT e.merchant_id, e.payment_id, e.sequence, e.event, e.occurred_at, e.operation_id, e.attempt, e.batch_id,
       o.kind, o.minor, o.currency, o.door, o.reference, o.details, o.token_name, o.token_version, o.reason, o.actor,
       x.result, x.minor, x.response_code, x.advice, x.approval_code, x.scheme_reference, x.processor_reference,
       f.door, f.kind, f.reference, f.details,
       CASE WHEN e.operation_id <> e.payment_id THEN (
           SELECT array_agg(ARRAY[m.kind, m.minor] ORDER BY m.kind)
           FROM (SELECT t.kind::bigint AS kind, sum(t.minor)::bigint AS minor FROM transfers t
                 WHERE t.merchant_id = e.merchant_id AND t.payment_id = e.payment_id AND EXISTS (
                     SELECT FROM events h
                     WHERE h.merchant_id = e.merchant_id AND h.payment_id = e.payment_id AND h.sequence <= e.sequence
                       AND h.operation_id = t.operation_id AND h.batch_id > 0 AND h.attempt > t.leg / 10000)
                 GROUP BY t.kind) m) END,
       CASE WHEN e.event IN ('capture_rejected', 'refund_returned') THEN (
           SELECT ROW(u.operation_id, u.kind, u.minor, u.currency, u.door, u.details, n.minor)
           FROM notices n JOIN operations u ON u.merchant_id = n.merchant_id AND u.payment_id = n.payment_id AND u.operation_id = CASE
               WHEN n.capture_id <> 0 THEN n.capture_id ELSE substring(n.identity FROM ':([0-9]{1,18})$')::bigint END
           WHERE n.merchant_id = e.merchant_id AND n.payment_id = e.payment_id AND n.operation_id = e.operation_id) END,
       CASE WHEN x.result = 'not_asked' AND e.operation_id = e.payment_id THEN (
           SELECT d.details FROM refused_operations d
           WHERE d.merchant_id = e.merchant_id AND d.payment_id = e.payment_id AND d.kind = 'discard_asked' AND d.refused_at <= e.occurred_at
           ORDER BY d.operation_id DESC LIMIT 1) END
FROM (
    SELECT * FROM events WHERE batch_id = ANY($1::bigint[])
    UNION ALL
    SELECT s.* FROM unnest($2::integer[], $3::bigint[], $4::integer[]) AS w (merchant_id, payment_id, sequence)
    JOIN events s USING (merchant_id, payment_id, sequence)
) e
LEFT JOIN operations o ON o.merchant_id = e.merchant_id AND o.payment_id = e.payment_id AND o.operation_id = e.operation_id
LEFT JOIN outcomes x ON x.merchant_id = e.merchant_id AND x.payment_id = e.payment_id AND x.operation_id = e.operation_id
    AND x.attempt = e.attempt AND x.batch_id = e.batch_id
LEFT JOIN operations f ON e.operation_id <> e.payment_id
    AND f.merchant_id = e.merchant_id AND f.payment_id = e.payment_id AND f.operation_id = e.payment_id;

-- places --
-- Where events ($1 merchants, $2 payments, $3 sequences) stand: their batch, and its lane and number (nulls for batch 0).
SELECT e.merchant_id, e.payment_id, e.sequence, e.batch_id, b.lane, b.number
FROM unnest($1::integer[], $2::bigint[], $3::integer[]) AS w (merchant_id, payment_id, sequence)
JOIN events e USING (merchant_id, payment_id, sequence)
LEFT JOIN batches b ON b.batch_id = e.batch_id;

-- followed --
-- How far events were handed to deliveries.
SELECT lane, number FROM follows ORDER BY lane;

-- lock_followed --
-- One follower at a time; the table and not its rows, because a lane that is new has none.
LOCK TABLE follows IN SHARE ROW EXCLUSIVE MODE;

-- note_followed --
-- Remember how far they were handed out ($1 lanes, $2 numbers).
INSERT INTO follows AS f (lane, number) SELECT * FROM unnest($1::integer[], $2::bigint[])
ON CONFLICT (lane) DO UPDATE SET number = excluded.number WHERE f.number < excluded.number;
