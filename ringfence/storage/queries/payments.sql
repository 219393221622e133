-- Rows travel as arrays of the tables' own row types: one parameter for each table, however wide it is.

-- claim --
-- Store what is intended at $2 (business time), to be asked until $3 (wall time).  To others the time of an owner is not over before
-- this transaction began, however wrong its clock is: a sweep that has passed that instant would never look there again.
-- A key already taken, or a token that changed since it was read, is simply not returned.  The token is asked for as a value, not
-- with EXISTS: that the planner may turn into a hash of the whole table of tokens, made anew for every batch.
INSERT INTO operations
SELECT i.merchant_id, i.payment_id, i.operation_id, i.kind, i.minor, i.currency, i.door, i.reference, i.key, i.content,
       i.details, i.actor, i.source, i.processor, i.card_id, i.token_name, i.token_version, i.initiation, i.channel,
       i.accepts_partial, i.reason, i.hold_seconds, i.allotment, $2, greatest($3, now())
FROM unnest($1::operations[]) AS i
WHERE i.token_version IS NULL
   OR i.token_version = (SELECT t.version FROM tokens t
                         WHERE t.merchant_id = i.merchant_id AND t.token_name = i.token_name AND t.active)
ON CONFLICT (merchant_id, key) WHERE key IS NOT NULL DO NOTHING
RETURNING operation_id;

-- claim_free --
-- The same for new payments whose keys are expected to be free, by a single look at the keys: one that is taken breaks the unique rule, and
-- nothing is stored.  How many rows were stored tells whether any token had changed.
INSERT INTO operations
SELECT i.merchant_id, i.payment_id, i.operation_id, i.kind, i.minor, i.currency, i.door, i.reference, i.key, i.content,
       i.details, i.actor, i.source, i.processor, i.card_id, i.token_name, i.token_version, i.initiation, i.channel,
       i.accepts_partial, i.reason, i.hold_seconds, i.allotment, $2, greatest($3, now())
FROM unnest($1::operations[]) AS i
WHERE i.token_version IS NULL
   OR i.token_version = (SELECT t.version FROM tokens t
                         WHERE t.merchant_id = i.merchant_id AND t.token_name = i.token_name AND t.active);

-- claim_alike --
-- The same for new payments of one sort ($4 and on say what they share), of which none is expected to be turned down: a key already taken
-- breaks the unique rule, and whoever finds fewer rows stored than he gave takes all of them back.
INSERT INTO operations
SELECT $4, i.payment_id, i.payment_id, $5, i.minor, $6, $7, i.reference, i.key, i.content, i.details, $8, $9, $10, i.card_id,
       i.token_name, i.token_version, $11, $12, $13, $14, $15, NULL, $2, greatest($3, now())
FROM unnest($1::own_operation[]) AS i
WHERE i.token_version IS NULL
   OR i.token_version = (SELECT t.version FROM tokens t WHERE t.merchant_id = $4 AND t.token_name = i.token_name AND t.active);

-- claim_sheet --
-- The same where nothing is left to be asked of a row: the tokens were looked at (tokens_stand), and a key already taken breaks the unique rule.
INSERT INTO operations
SELECT $4, i.payment_id, i.payment_id, $5, i.minor, $6, $7, i.reference, i.key, i.content, i.details, $8, $9, $10, i.card_id,
       i.token_name, i.token_version, $11, $12, $13, $14, $15, NULL, $2, greatest($3, now())
FROM unnest($1::own_operation[]) AS i;

-- tokens_stand --
-- How many of these tokens are as they were read.
SELECT count(*)
FROM unnest($2::text[], $3::integer[]) AS w (token_name, version)
WHERE w.version = (SELECT t.version FROM tokens t WHERE t.merchant_id = $1 AND t.token_name = w.token_name AND t.active);

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
-- Store what became of a batch at $8 (business time), as batch $9: first operations ($1), each with all that it writes in
-- one row; later outcomes ($2), the payments they change ($3) and their transfers ($4); balances, events, notices; and the
-- link of the chain.  All or nothing: an attempt that already has an outcome breaks the unique rule.
WITH first AS MATERIALIZED (
    SELECT * FROM unnest($1::first_outcome[])
), saved_outcomes AS (
    INSERT INTO outcomes
    SELECT merchant_id, payment_id, payment_id, CASE result WHEN 'challenge' THEN 0 ELSE 1 END::smallint, result, minor, response_code, advice, approval_code,
           scheme_reference, processor_reference, security_code_result, eci, $8::timestamptz, $9::bigint FROM first
    UNION ALL SELECT * FROM unnest($2::outcomes[])
), new_payments AS (
    INSERT INTO payments
    SELECT merchant_id, payment_id, currency, status, purchase, authorized, captured, voided, 0, 0, 0, 0, 0,
           pending_authorization, 0, 0, 0, 0, 0, unknown, expires_at,
           CASE WHEN captured > 0 THEN ARRAY[payment_id, captured, 0, 0, 0, 0] ELSE '{}' END,
           CASE WHEN event IS NULL THEN 0 ELSE 1 END, $8::timestamptz, NULL, NULL FROM first
), changed_payments AS (
    UPDATE payments p
    SET status = n.status, authorized = n.authorized, captured = n.captured, voided = n.voided, expired = n.expired,
        unsecured = n.unsecured, refunded = n.refunded, disputed = n.disputed, charged_back = n.charged_back,
        pending_authorization = n.pending_authorization, pending_increment = n.pending_increment,
        pending_decrement = n.pending_decrement, pending_capture = n.pending_capture, pending_void = n.pending_void,
        pending_refund = n.pending_refund, unknown = n.unknown, expires_at = n.expires_at, captures = n.captures,
        sequence = n.sequence, changed_at = n.changed_at
    FROM unnest($3::payments[]) AS n
    WHERE p.merchant_id = n.merchant_id AND p.payment_id = n.payment_id
), saved_transfers AS (
    INSERT INTO transfers
    SELECT merchant_id, payment_id, payment_id, 0, kind_0, minor_0, currency, value_date, $9::bigint, NULL::bigint, NULL::integer
    FROM first WHERE kind_0 IS NOT NULL
    UNION ALL
    SELECT merchant_id, payment_id, payment_id, 1, kind_1, minor_1, currency, value_date, $9::bigint, NULL::bigint, NULL::integer
    FROM first WHERE kind_1 IS NOT NULL
    UNION ALL SELECT * FROM unnest($4::transfers[])
), saved_balances AS (
    INSERT INTO balances AS b SELECT * FROM unnest($5::balances[])
    ON CONFLICT (merchant_id, currency, account, lane) DO UPDATE SET balance = b.balance + excluded.balance
), saved_events AS (
    INSERT INTO events
    SELECT merchant_id, payment_id, 1, event, payment_id, CASE result WHEN 'challenge' THEN 0 ELSE 1 END::smallint, $8::timestamptz, $9::bigint
    FROM first WHERE event IS NOT NULL
    UNION ALL SELECT * FROM unnest($6::events[])
), saved_notices AS (
    INSERT INTO notices SELECT * FROM unnest($7::notices[])
)
INSERT INTO batches SELECT * FROM unnest($10::batches[]);

-- finish_alike --
-- The same for a batch of first operations in bulk: purchases that were approved whole, of one sort ($5 and on say what they share), each as
-- what is its own ($2); and all others ($1).  A whole purchase uses what was promised at once (transfers 5 and 20).
WITH other AS MATERIALIZED (
    SELECT * FROM unnest($1::first_outcome[])
), whole AS MATERIALIZED (
    SELECT * FROM unnest($2::own_purchase[])
), saved_outcomes AS (
    INSERT INTO outcomes
    SELECT $5::integer, payment_id, payment_id, 1::smallint, $6::text, minor, $7::text, $8::text, approval_code, scheme_reference,
           processor_reference, $9::text, $10::text, $3::timestamptz, $4::bigint FROM whole
    UNION ALL
    SELECT merchant_id, payment_id, payment_id, CASE result WHEN 'challenge' THEN 0 ELSE 1 END::smallint, result, minor, response_code,
           advice, approval_code, scheme_reference, processor_reference, security_code_result, eci, $3::timestamptz, $4::bigint FROM other
), new_payments AS (
    INSERT INTO payments
    SELECT $5::integer, payment_id, $11::text, $12::text, true, minor, minor, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, NULL::timestamptz,
           ARRAY[payment_id, minor, 0, 0, 0, 0], 1, $3::timestamptz, NULL::bytea, NULL::timestamptz FROM whole
    UNION ALL
    SELECT merchant_id, payment_id, currency, status, purchase, authorized, captured, voided, 0, 0, 0, 0, 0,
           pending_authorization, 0, 0, 0, 0, 0, unknown, expires_at,
           CASE WHEN captured > 0 THEN ARRAY[payment_id, captured, 0, 0, 0, 0] ELSE '{}' END,
           CASE WHEN event IS NULL THEN 0 ELSE 1 END, $3::timestamptz, NULL, NULL FROM other
), saved_transfers AS (
    INSERT INTO transfers
    SELECT $5::integer, payment_id, payment_id, l.leg, l.kind, minor, $11::text, $13::date, $4::bigint, NULL::bigint, NULL::integer
    FROM whole CROSS JOIN (VALUES (0, 5::smallint), (1, 20::smallint)) AS l (leg, kind)
    UNION ALL
    SELECT merchant_id, payment_id, payment_id, 0, kind_0, minor_0, currency, value_date, $4::bigint, NULL, NULL
    FROM other WHERE kind_0 IS NOT NULL
    UNION ALL
    SELECT merchant_id, payment_id, payment_id, 1, kind_1, minor_1, currency, value_date, $4::bigint, NULL, NULL
    FROM other WHERE kind_1 IS NOT NULL
), saved_balances AS (
    INSERT INTO balances AS b SELECT * FROM unnest($15::balances[])
    ON CONFLICT (merchant_id, currency, account, lane) DO UPDATE SET balance = b.balance + excluded.balance
), saved_events AS (
    INSERT INTO events
    SELECT $5::integer, payment_id, 1, $14::text, payment_id, 1::smallint, $3::timestamptz, $4::bigint FROM whole
    UNION ALL
    SELECT merchant_id, payment_id, 1, event, payment_id, 1::smallint, $3::timestamptz, $4::bigint FROM other WHERE event IS NOT NULL
)
INSERT INTO batches SELECT * FROM unnest($16::batches[]);

-- owe_reversals --
-- Reversals to be sent, written in the commit that made them due.
INSERT INTO reversals SELECT * FROM unnest($1::reversals[]) ON CONFLICT DO NOTHING;

-- answered --
-- Which of these attempts have an outcome already; one that would begin its payment ($5) comes too late behind a challenge too, which is
-- what stands there as attempt 0.
SELECT DISTINCT w.operation_id, w.attempt
FROM unnest($1::integer[], $2::bigint[], $3::bigint[], $4::smallint[], $5::boolean[]) AS w (merchant_id, payment_id, operation_id, attempt, begins)
JOIN outcomes o ON o.merchant_id = w.merchant_id AND o.payment_id = w.payment_id AND o.operation_id = w.operation_id
    AND (o.attempt = w.attempt OR w.begins AND o.attempt = 0);

-- head_of_lane --
-- The last link of a lane's chain.
SELECT number, batch_id, committed_at, rows, digest FROM batches WHERE lane = $1 ORDER BY number DESC LIMIT 1;

-- end_lane --
-- End the server's process ($3) that still holds a lane ($2), and say so; nothing comes back once it has ended.
SELECT pg_terminate_backend(l.pid)
FROM pg_locks l
WHERE l.locktype = 'advisory' AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND l.classid = $1::integer::oid AND l.objid = $2::integer::oid AND l.objsubid = 2 AND l.pid = $3::integer;

-- batch_at --
-- The batch with this number in this lane, if it was committed.
SELECT batch_id, digest FROM batches WHERE lane = $1 AND number = $2;

-- abandoned --
-- Operations whose deadline passed between two instants without any outcome: their owner is gone.  One whose payer was challenged waits
-- for him, and has an owner again once somebody has claimed to carry on.
SELECT o.*, EXISTS (SELECT FROM outcomes c WHERE c.merchant_id = o.merchant_id AND c.payment_id = o.payment_id
                    AND c.operation_id = o.operation_id AND c.attempt = 0) AS is_challenged
FROM operations o
WHERE o.ask_deadline >= $1 AND o.ask_deadline < $2
  AND NOT EXISTS (SELECT FROM outcomes x
                  WHERE x.merchant_id = o.merchant_id AND x.payment_id = o.payment_id AND x.operation_id = o.operation_id
                    AND (x.attempt > 0 OR NOT EXISTS (
                        SELECT FROM authentications a WHERE a.merchant_id = o.merchant_id AND a.payment_id = o.payment_id AND a.payment_id > 0
                        AND a.claim IS NOT NULL
                        UNION ALL SELECT FROM redirections r WHERE r.merchant_id = o.merchant_id AND r.subject = o.payment_id
                        AND r.payment_id > 0 AND r.claim IS NOT NULL)))
ORDER BY o.ask_deadline
LIMIT $3;

-- oldest_commit --
-- The database's clock; and when the oldest transaction began that is open on a connection that holds a lane, null where none is.
SELECT now(), min(a.xact_start)
FROM pg_stat_activity a
JOIN pg_locks l ON l.pid = a.pid
WHERE l.locktype = 'advisory' AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND l.classid = $1::integer::oid AND l.objsubid = 2;

-- swept_until --
-- How far a sweep over time has come.
SELECT done_until FROM sweeps WHERE job = $1;

-- note_swept --
-- Remember how far a sweep over time has come; it goes back where the clock did.
INSERT INTO sweeps (job, done_until) VALUES ($1, $2)
ON CONFLICT (job) DO UPDATE SET done_until = excluded.done_until;

-- known_notices --
-- What these payments have been told already: asked under their locks.
SELECT n.merchant_id, n.payment_id, n.identity
FROM unnest($1::integer[], $2::bigint[]) AS w (merchant_id, payment_id)
JOIN notices n USING (merchant_id, payment_id);
