-- Rows travel as arrays of the tables' own row types: one parameter for each table, however wide it is.

-- claim --
-- Store what is intended.  A key already taken, or a token that changed since it was read, is simply not returned.
INSERT INTO operations
SELECT i.*
FROM unnest($1::operations[]) AS i
WHERE i.token_version IS NULL
   OR EXISTS (SELECT FROM tokens t
              WHERE t.merchant_id = i.merchant_id AND t.token_name = i.token_name
                AND t.version = i.token_version AND t.active)
ON CONFLICT (merchant_id, key) WHERE key IS NOT NULL DO NOTHING
RETURNING operation_id;

-- key_owners --
-- Which operations hold these keys.
SELECT o.merchant_id, o.key, o.payment_id, o.operation_id
FROM unnest($1::integer[], $2::text[]) AS k (merchant_id, key)
JOIN operations o ON o.merchant_id = k.merchant_id AND o.key = k.key AND o.key IS NOT NULL;

-- present --
-- Which of these operations are stored: how a lane learns what became of a commit whose answer was lost.
SELECT o.operation_id
FROM unnest($1::integer[], $2::bigint[], $3::bigint[]) AS w (merchant_id, payment_id, operation_id)
JOIN operations o USING (merchant_id, payment_id, operation_id);

-- lock --
-- Load payments for a decision and hold them until the commit; in key order, so that two lanes cannot embrace.
SELECT p.*
FROM payments p
JOIN unnest($1::integer[], $2::bigint[]) AS w (merchant_id, payment_id) USING (merchant_id, payment_id)
ORDER BY p.merchant_id, p.payment_id
FOR UPDATE OF p;

-- begun --
-- Which of these payments have at least their first operation stored.
SELECT o.merchant_id, o.payment_id
FROM unnest($1::integer[], $2::bigint[]) AS w (merchant_id, payment_id)
JOIN operations o ON o.merchant_id = w.merchant_id AND o.payment_id = w.payment_id AND o.operation_id = w.payment_id;

-- keyed --
-- Operations of these payments that carry a key, with their latest result: asked under the payments' locks.
SELECT o.merchant_id, o.payment_id, o.operation_id, o.key, o.content, o.kind, o.minor,
       l.result, l.response_code
FROM unnest($1::integer[], $2::bigint[]) AS w (merchant_id, payment_id)
JOIN operations o USING (merchant_id, payment_id)
LEFT JOIN LATERAL (
    SELECT x.result, x.response_code FROM outcomes x
    WHERE x.merchant_id = o.merchant_id AND x.payment_id = o.payment_id AND x.operation_id = o.operation_id
    ORDER BY x.attempt DESC LIMIT 1) l ON true
WHERE o.key IS NOT NULL
ORDER BY o.operation_id;

-- reserve --
-- Store the payments' new reservations.
UPDATE payments p
SET pending_increment = n.pending_increment, pending_decrement = n.pending_decrement,
    pending_capture = n.pending_capture, pending_void = n.pending_void, pending_refund = n.pending_refund,
    captures = n.captures, sequence = n.sequence, last_content = n.last_content,
    last_asked_at = n.last_asked_at, changed_at = n.changed_at
FROM unnest($1::payments[]) AS n
WHERE p.merchant_id = n.merchant_id AND p.payment_id = n.payment_id;

-- tell --
-- Events of an intent's commit (an outcome's events travel with its own statement).
INSERT INTO events SELECT * FROM unnest($1::events[]);

-- finish --
-- Store what became of a batch: outcomes, payments, transfers, balances, events and the batch's link of the chain, all
-- or nothing.  An attempt that already has an outcome breaks the unique rule, and with it the whole batch.
WITH saved_outcomes AS (
    INSERT INTO outcomes SELECT * FROM unnest($1::outcomes[])
), saved_payments AS (
    INSERT INTO payments SELECT * FROM unnest($2::payments[])
    ON CONFLICT (merchant_id, payment_id) DO UPDATE SET
        status = excluded.status, authorized = excluded.authorized, captured = excluded.captured,
        voided = excluded.voided, expired = excluded.expired, unsecured = excluded.unsecured,
        refunded = excluded.refunded, disputed = excluded.disputed, charged_back = excluded.charged_back,
        pending_authorization = excluded.pending_authorization, pending_increment = excluded.pending_increment,
        pending_decrement = excluded.pending_decrement, pending_capture = excluded.pending_capture,
        pending_void = excluded.pending_void, pending_refund = excluded.pending_refund, unknown = excluded.unknown,
        expires_at = excluded.expires_at, captures = excluded.captures, sequence = excluded.sequence,
        changed_at = excluded.changed_at
), saved_transfers AS (
    INSERT INTO transfers SELECT * FROM unnest($3::transfers[])
), saved_balances AS (
    INSERT INTO balances AS b SELECT * FROM unnest($4::balances[])
    ON CONFLICT (merchant_id, currency, account, lane) DO UPDATE SET balance = b.balance + excluded.balance
), saved_events AS (
    INSERT INTO events SELECT * FROM unnest($5::events[])
)
INSERT INTO batches SELECT * FROM unnest($6::batches[]);

-- owe_reversals --
-- Reversals to be sent, written in the commit that made them due.
INSERT INTO reversals SELECT * FROM unnest($1::reversals[]) ON CONFLICT DO NOTHING;

-- acknowledge_reversal --
-- The processor has undone it, or never did it.
UPDATE reversals SET acknowledged_at = $5
WHERE merchant_id = $1 AND payment_id = $2 AND operation_id = $3 AND attempt = $4 AND acknowledged_at IS NULL;

-- reversals_due --
-- Reversals of one merchant that nobody has acknowledged yet, oldest first.
SELECT r.payment_id, r.operation_id, r.attempt
FROM reversals r
WHERE r.merchant_id = $1 AND r.acknowledged_at IS NULL AND r.due_at <= $2
ORDER BY r.due_at
LIMIT $3;

-- answered --
-- Which of these attempts have an outcome already.
SELECT o.operation_id, o.attempt
FROM unnest($1::integer[], $2::bigint[], $3::bigint[], $4::smallint[]) AS w (merchant_id, payment_id, operation_id, attempt)
JOIN outcomes o USING (merchant_id, payment_id, operation_id, attempt);

-- head_of_lane --
-- The last link of a lane's chain.
SELECT number, batch_id, committed_at, rows, digest FROM batches WHERE lane = $1 ORDER BY number DESC LIMIT 1;

-- batch_at --
-- The batch with this number in this lane, if it was committed.
SELECT batch_id, digest FROM batches WHERE lane = $1 AND number = $2;

-- expiring --
-- Payments of one merchant whose hold is past its instant, oldest first.
SELECT payment_id, currency
FROM payments
WHERE merchant_id = $1 AND expires_at <= $2
  AND status IN ('authorized', 'captured') AND authorized - captured - voided - expired > 0
  AND unknown = 0 AND pending_capture = 0 AND pending_void = 0 AND pending_increment = 0 AND pending_decrement = 0
ORDER BY expires_at
LIMIT $3;

-- abandoned --
-- Operations whose deadline passed between two instants without any outcome: their owner is gone.
SELECT o.*
FROM operations o
WHERE o.ask_deadline >= $1 AND o.ask_deadline < $2
  AND NOT EXISTS (SELECT FROM outcomes x
                  WHERE x.merchant_id = o.merchant_id AND x.payment_id = o.payment_id AND x.operation_id = o.operation_id)
ORDER BY o.ask_deadline
LIMIT $3;

-- swept_until --
-- How far a sweep over time has come.
SELECT done_until FROM sweeps WHERE job = $1;

-- note_swept --
-- Remember how far a sweep over time has come; it never goes back.
INSERT INTO sweeps AS s (job, done_until) VALUES ($1, $2)
ON CONFLICT (job) DO UPDATE SET done_until = greatest(s.done_until, excluded.done_until);
