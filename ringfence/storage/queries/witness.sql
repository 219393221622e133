-- The outside witnesses of the proof: the processors' own books (P9), and what clients saw acknowledged.  $1 is a merchant (null: all).

-- approved --
-- P9, our side: approved operations by processor, business day and kind, and those of them committed since the processor's
-- book was read ($2).  A partial approval nobody wanted is left out: it is undone.  A purchase that was paid after all, and sent
-- back by a refund, is one of each.  What was in doubt for more than a day is posted on another day than the processor did it; such
-- operations are counted apart.
SELECT e.processor, e.day, m.identifier, e.currency, e.kind, count(*) AS count, sum(e.minor) AS minor,
       count(*) FILTER (WHERE b.committed_at >= $2) AS recent, coalesce(sum(e.minor) FILTER (WHERE b.committed_at >= $2), 0) AS recent_minor,
       count(*) FILTER (WHERE e.is_late) AS late, coalesce(sum(e.minor) FILTER (WHERE e.is_late), 0) AS late_minor
FROM (
    SELECT o.processor, t.value_date AS day, o.merchant_id, o.currency, o.kind, x.minor, x.batch_id,
           x.attempt > 1 AND t.value_date - (o.asked_at AT TIME ZONE 'UTC')::date > 1 AS is_late
    FROM outcomes x
    JOIN operations o USING (merchant_id, payment_id, operation_id)
    JOIN transfers t ON t.merchant_id = x.merchant_id AND t.payment_id = x.payment_id AND t.operation_id = x.operation_id
        AND t.leg = (x.attempt - 1) * 10000
    WHERE x.result = 'approved' AND ($1::integer IS NULL OR x.merchant_id = $1)
      AND NOT (o.kind IN ('authorization', 'purchase') AND x.minor < o.minor AND NOT o.accepts_partial)
    UNION ALL
    SELECT o.processor, t.value_date, o.merchant_id, o.currency, done.kind, t.minor, t.batch_id,
           t.value_date - (o.asked_at AT TIME ZONE 'UTC')::date > 1
    FROM transfers t
    JOIN operations o USING (merchant_id, payment_id, operation_id)
    CROSS JOIN (VALUES ('purchase'), ('refund')) AS done (kind)
    WHERE t.kind = (SELECT kind FROM transfer_kinds WHERE name = 'suspense_returned') AND o.kind = 'purchase'
      AND ($1::integer IS NULL OR t.merchant_id = $1)
) e
JOIN batches b USING (batch_id)
JOIN merchants m USING (merchant_id)
GROUP BY e.processor, e.day, m.identifier, e.currency, e.kind;

-- unsettled --
-- P9: what a processor's book may hold beyond ours: operations in doubt or on their way, and reversals nobody has acknowledged; and
-- the refund of a purchase in doubt that is being sent back.  A payment that waits for its payer was not asked for.
WITH open AS (
    SELECT o.*, NOT EXISTS (
        SELECT FROM outcomes f
        WHERE f.merchant_id = o.merchant_id AND f.payment_id = o.payment_id AND f.operation_id = o.operation_id
          AND f.result NOT IN ('unknown', 'challenge'))
        AND NOT EXISTS (
            SELECT FROM authentications a
            WHERE a.merchant_id = o.merchant_id AND a.payment_id = o.payment_id AND a.payment_id > 0 AND a.status IN ('C', 'D', 'M')
              AND EXISTS (SELECT FROM outcomes c WHERE c.merchant_id = o.merchant_id AND c.payment_id = o.payment_id
                          AND c.operation_id = o.operation_id AND c.attempt = 0)
            UNION ALL
            SELECT FROM redirections r
            WHERE r.merchant_id = o.merchant_id AND r.subject = o.payment_id AND r.payment_id > 0 AND r.claim IS NULL
              AND EXISTS (SELECT FROM outcomes c WHERE c.merchant_id = o.merchant_id AND c.payment_id = o.payment_id
                          AND c.operation_id = o.operation_id AND c.attempt = 0)) AS is_open
    FROM operations o WHERE $1::integer IS NULL OR o.merchant_id = $1
), may AS (
    SELECT o.processor, o.merchant_id, o.currency, o.kind, o.minor
    FROM open o
    WHERE o.is_open OR EXISTS (
        SELECT FROM reversals r
        WHERE r.merchant_id = o.merchant_id AND r.payment_id = o.payment_id AND r.operation_id = o.operation_id
          AND r.acknowledged_at IS NULL)
    UNION ALL
    SELECT o.processor, o.merchant_id, o.currency, 'refund', o.minor
    FROM open o
    WHERE o.is_open AND o.kind = 'purchase' AND EXISTS (
        SELECT FROM reversals r
        WHERE r.merchant_id = o.merchant_id AND r.payment_id = o.payment_id AND r.operation_id = o.operation_id)
)
SELECT o.processor, m.identifier, o.currency, o.kind, count(*) AS count, sum(o.minor) AS minor
FROM may o JOIN merchants m USING (merchant_id)
GROUP BY o.processor, m.identifier, o.currency, o.kind;

-- asked_days --
-- P9: the days on which each processor was asked for anything (business time, UTC), and the days its transfers belong to.
SELECT DISTINCT processor, (asked_at AT TIME ZONE 'UTC')::date AS day
FROM operations WHERE $1::integer IS NULL OR merchant_id = $1
UNION
SELECT DISTINCT o.processor, t.value_date
FROM transfers t JOIN operations o USING (merchant_id, payment_id, operation_id)
WHERE $1::integer IS NULL OR t.merchant_id = $1;

-- acknowledged --
-- What the database knows of operations that a client saw acknowledged: for each line how many approved operations fit it in full,
-- and how many approved operations of that kind the reference has.
-- In two steps of two tables each: the planner, for want of statistics, would else join by the merchant alone.
WITH asked AS MATERIALIZED (
    SELECT a.place, m.merchant_id, a.door, a.reference, a.kind, a.minor, a.currency
    FROM unnest($1::integer[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[], $7::text[])
      AS a (place, merchant, door, reference, kind, minor, currency)
    JOIN merchants m ON m.identifier = a.merchant
), approved AS MATERIALIZED (
    SELECT o.merchant_id, o.door, o.reference, o.kind, o.currency, x.minor
    FROM operations o
    JOIN outcomes x ON x.merchant_id = o.merchant_id AND x.payment_id = o.payment_id AND x.operation_id = o.operation_id
        AND x.result = 'approved'
)
SELECT a.place, count(*) FILTER (WHERE o.minor = a.minor AND o.currency = a.currency) AS exact, count(*) AS found,
       min(o.minor) AS minor, min(o.currency) AS currency
FROM asked a
JOIN approved o ON o.merchant_id = a.merchant_id AND o.door = a.door AND o.reference = a.reference AND o.kind = a.kind
GROUP BY a.place;
