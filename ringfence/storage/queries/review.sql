-- What people look at and decide: operations in doubt.

-- listed --
-- Operations in doubt whose deadline has passed at $1 (all of them where it is null), of one merchant ($2) or any; the oldest first.
SELECT j.merchant_id, m.identifier, j.payment_id, j.subject AS operation_id, o.kind, o.minor, o.currency, o.door, o.reference,
       o.processor, o.asked_at, j.due_at, j.deadline_at, j.tries, j.note,
       EXISTS (SELECT FROM reversals r WHERE r.merchant_id = o.merchant_id AND r.payment_id = o.payment_id
               AND r.operation_id = o.operation_id) AS reversal_left,
       v.decided, NULL::text AS ended
FROM merchants m JOIN jobs j ON j.merchant_id = m.merchant_id AND j.queue = 'recovery'
JOIN operations o ON o.merchant_id = j.merchant_id AND o.payment_id = j.payment_id AND o.operation_id = j.subject
LEFT JOIN reviews v ON v.merchant_id = o.merchant_id AND v.operation_id = o.operation_id
WHERE ($1::timestamptz IS NULL OR j.deadline_at <= $1) AND ($2::text IS NULL OR m.identifier = $2)
ORDER BY j.deadline_at, j.subject LIMIT $3;

-- place --
-- Merchant and payment of an operation: by its job, by what was decided, or among those that were asked between $2 and $3.
SELECT p.merchant_id, p.payment_id FROM (
    SELECT j.merchant_id, j.payment_id FROM merchants m
    JOIN jobs j ON j.merchant_id = m.merchant_id AND j.queue = 'recovery' AND j.subject = $1::bigint
    UNION ALL
    SELECT v.merchant_id, v.payment_id FROM merchants m
    JOIN reviews v ON v.merchant_id = m.merchant_id AND v.operation_id = $1::bigint
    UNION ALL
    SELECT o.merchant_id, o.payment_id FROM operations o
    WHERE o.ask_deadline BETWEEN $2::timestamptz AND $3::timestamptz AND o.operation_id = $1::bigint
) p LIMIT 1;

-- one --
-- One operation as in the list, with its job where it is in doubt, and its end where it has one.
SELECT o.merchant_id, m.identifier, o.payment_id, o.operation_id, o.kind, o.minor, o.currency, o.door, o.reference,
       o.processor, o.asked_at, j.due_at, j.deadline_at, j.tries, j.note,
       EXISTS (SELECT FROM reversals r WHERE r.merchant_id = o.merchant_id AND r.payment_id = o.payment_id
               AND r.operation_id = o.operation_id) AS reversal_left,
       v.decided,
       (SELECT x.result FROM outcomes x WHERE x.merchant_id = o.merchant_id AND x.payment_id = o.payment_id
        AND x.operation_id = o.operation_id AND x.result NOT IN ('unknown', 'challenge') LIMIT 1) AS ended
FROM operations o JOIN merchants m USING (merchant_id)
LEFT JOIN jobs j ON j.merchant_id = o.merchant_id AND j.queue = 'recovery' AND j.subject = o.operation_id
LEFT JOIN reviews v ON v.merchant_id = o.merchant_id AND v.operation_id = o.operation_id
WHERE o.merchant_id = $1 AND o.payment_id = $2 AND o.operation_id = $3;

-- attempts --
-- What was heard of an operation so far.
SELECT attempt, result, response_code, answered_at
FROM outcomes WHERE merchant_id = $1 AND payment_id = $2 AND operation_id = $3
ORDER BY attempt;

-- hold --
-- The recovery job of an operation, held until the transaction ends: nobody who recovers it commits anything meanwhile.
SELECT true FROM jobs WHERE merchant_id = $1 AND queue = 'recovery' AND subject = $2 FOR UPDATE;

-- decide --
-- Note what a person decided; nothing is returned where somebody did already.
INSERT INTO reviews (merchant_id, operation_id, payment_id, decided, minor, reason, evidence, decided_by, decided_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
ON CONFLICT DO NOTHING RETURNING true;
