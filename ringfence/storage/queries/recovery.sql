-- Operations in doubt: what fences their ends, what they are rebuilt from, and what nobody may forget of them.

-- standing --
-- Recovery jobs of these operations, held until the commit: after the payments' locks and before everything else, in key order.
SELECT j.merchant_id, j.subject, j.tries
FROM jobs j
JOIN unnest($1::integer[], $2::bigint[]) AS w (merchant_id, operation_id)
  ON j.merchant_id = w.merchant_id AND j.subject = w.operation_id AND j.queue = 'recovery'
ORDER BY j.merchant_id, j.subject
FOR UPDATE OF j;

-- decided --
-- Of these operations: whether a reversal was decided, and whether they are approved, or will be because a person says so.  Asked
-- under the locks of payments and jobs, so that whoever decides the one has seen the other.
SELECT w.merchant_id, w.operation_id,
       EXISTS (SELECT FROM reversals r WHERE r.merchant_id = w.merchant_id AND r.payment_id = w.payment_id
               AND r.operation_id = w.operation_id) AS reversal_left,
       EXISTS (SELECT FROM outcomes x WHERE x.merchant_id = w.merchant_id AND x.payment_id = w.payment_id
               AND x.operation_id = w.operation_id AND x.result = 'approved')
           OR EXISTS (SELECT FROM reviews v WHERE v.merchant_id = w.merchant_id AND v.operation_id = w.operation_id
               AND v.decided = 'approved') AS is_approved
FROM unnest($1::integer[], $2::bigint[], $3::bigint[]) AS w (merchant_id, payment_id, operation_id);

-- end_doubts --
-- The recovery jobs of operations that have ended.
DELETE FROM jobs j
USING unnest($1::integer[], $2::bigint[], $3::bigint[]) AS w (merchant_id, payment_id, operation_id)
WHERE j.merchant_id = w.merchant_id AND j.queue = 'recovery' AND j.subject = w.operation_id;

-- acknowledge --
-- What was to be undone of these operations is: the end that is written in the same commit says so.
UPDATE reversals r SET acknowledged_at = $4
FROM unnest($1::integer[], $2::bigint[], $3::bigint[]) AS w (merchant_id, payment_id, operation_id)
WHERE r.merchant_id = w.merchant_id AND r.payment_id = w.payment_id AND r.operation_id = w.operation_id
  AND r.acknowledged_at IS NULL;

-- give_back --
-- Recovery jobs whose try has ended in this commit, and whose next one is due at $3 (business time).
UPDATE jobs j SET due_at = $3, leased_until = '-infinity', failures = 0, note = 'a reversal was decided'
FROM unnest($1::integer[], $2::bigint[]) AS w (merchant_id, operation_id)
WHERE j.merchant_id = w.merchant_id AND j.queue = 'recovery' AND j.subject = w.operation_id;

-- cases --
-- Operations as they were accepted, with what a message about them needs: the approval of the payment's first one (a later
-- message cites it), whether a reversal was decided, whether the other side has taken it, and what a person decided.  The operation's own columns come first.
SELECT o.*, f.minor AS first_minor, a.approval_code, a.processor_reference, a.scheme_reference,
       EXISTS (SELECT FROM reversals r WHERE r.merchant_id = o.merchant_id AND r.payment_id = o.payment_id
               AND r.operation_id = o.operation_id) AS reversal_left,
       EXISTS (SELECT FROM authentications a WHERE a.merchant_id = o.merchant_id AND a.payment_id = o.payment_id AND a.payment_id > 0
               AND a.soft_decline <> '') AS resubmitted,
       EXISTS (SELECT FROM outcomes x WHERE x.merchant_id = o.merchant_id AND x.payment_id = o.payment_id
               AND x.operation_id = o.operation_id AND x.result = 'unknown' AND x.response_code = 'pending') AS is_pending,
       e.result AS ended, v.decided, v.minor AS decided_minor, v.evidence
FROM unnest($1::integer[], $2::bigint[], $3::bigint[]) AS w (merchant_id, payment_id, operation_id)
JOIN operations o USING (merchant_id, payment_id, operation_id)
LEFT JOIN operations f ON f.merchant_id = o.merchant_id AND f.payment_id = o.payment_id AND f.operation_id = o.payment_id
    AND o.operation_id <> o.payment_id
LEFT JOIN LATERAL (
    SELECT x.approval_code, x.processor_reference, x.scheme_reference FROM outcomes x
    WHERE x.merchant_id = f.merchant_id AND x.payment_id = f.payment_id AND x.operation_id = f.operation_id
      AND x.result = 'approved'
    LIMIT 1) a ON true
LEFT JOIN LATERAL (
    SELECT x.result FROM outcomes x
    WHERE x.merchant_id = o.merchant_id AND x.payment_id = o.payment_id AND x.operation_id = o.operation_id
      AND x.result NOT IN ('unknown', 'challenge')
    LIMIT 1) e ON true
LEFT JOIN reviews v ON v.merchant_id = o.merchant_id AND v.operation_id = o.operation_id;

-- doubts --
-- The operations of a payment that are in doubt.
SELECT j.subject
FROM operations o
JOIN jobs j ON j.merchant_id = o.merchant_id AND j.queue = 'recovery' AND j.subject = o.operation_id
WHERE o.merchant_id = $1 AND o.payment_id = $2
ORDER BY j.subject;

-- before_a_person --
-- A recovery job whose deadline is earlier than it was thought: only a person can end it.
UPDATE jobs SET deadline_at = $4
WHERE merchant_id = $1 AND queue = 'recovery' AND subject = $2 AND tries = $3 AND (deadline_at IS NULL OR deadline_at > $4);

-- owed --
-- Whether a processor still owes us the acknowledgement of an operation's reversal.
SELECT EXISTS (SELECT FROM reversals
               WHERE merchant_id = $1 AND payment_id = $2 AND operation_id = $3 AND acknowledged_at IS NULL);
