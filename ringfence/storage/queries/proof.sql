-- The checks of the proof, as sets (P8 in legs.sql, P9 in witness.sql).  Everywhere $1 is a merchant (null: all of them) and $2 an
-- instant of wall time (null: now): then only batches committed at or before it count.  The checks P1 to P5 and P11 return what
-- disagrees, and nothing where all is well.

-- older_transactions --
-- Sessions with a transaction that began before an instant, and prepared transactions as old: what they commit would change the answer.
SELECT format('session %s (%s)', pid, application_name) AS name, xact_start AS since
FROM pg_stat_activity
WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid() AND xact_start <= $1
UNION ALL
SELECT format('prepared transaction %s', gid), prepared FROM pg_prepared_xacts
WHERE database = current_database() AND prepared <= $1
ORDER BY since;

-- kinds --
-- The stored table of kinds, to be compared with the ledger's own.
SELECT kind, name, debit, credit FROM transfer_kinds;

-- merchants --
-- The wire names of the merchants.
SELECT merchant_id, identifier FROM merchants;

-- sums --
-- Transfers by merchant, currency and kind: every account's balance follows from these.
SELECT t.merchant_id, t.currency, t.kind, sum(t.minor) AS minor
FROM transfers t
WHERE ($1::integer IS NULL OR t.merchant_id = $1)
  AND ($2::timestamptz IS NULL OR t.batch_id IN (SELECT b.batch_id FROM batches b WHERE b.committed_at <= $2))
GROUP BY t.merchant_id, t.currency, t.kind;

-- balances --
-- The stored balances, summed over lanes.
SELECT merchant_id, currency, account, sum(balance) AS balance
FROM balances
WHERE $1::integer IS NULL OR merchant_id = $1
GROUP BY merchant_id, currency, account;

-- used_currencies --
-- In which currencies each merchant was asked for anything.
SELECT DISTINCT o.merchant_id, o.currency
FROM operations o
WHERE ($1::integer IS NULL OR o.merchant_id = $1)
  AND ($2::timestamptz IS NULL OR EXISTS (
        SELECT FROM outcomes x JOIN batches b USING (batch_id)
        WHERE x.merchant_id = o.merchant_id AND x.payment_id = o.payment_id AND x.operation_id = o.operation_id
          AND b.committed_at <= $2));

-- in_doubt --
-- Operations whose outcome is unknown: asked about at least once in vain, and not ended.  A refund that the other side has taken is in
-- no doubt: it stands in refund.pending.
SELECT o.merchant_id, o.currency, o.payment_id, o.operation_id, o.kind, o.minor, u.since, o.processor
FROM (SELECT x.merchant_id, x.payment_id, x.operation_id, min(b.committed_at) AS since
      FROM outcomes x JOIN batches b USING (batch_id)
      WHERE x.result = 'unknown' AND ($1::integer IS NULL OR x.merchant_id = $1)
        AND ($2::timestamptz IS NULL OR b.committed_at <= $2)
      GROUP BY x.merchant_id, x.payment_id, x.operation_id) u
JOIN operations o USING (merchant_id, payment_id, operation_id)
WHERE NOT EXISTS (
    SELECT FROM outcomes f JOIN batches b USING (batch_id)
    WHERE f.merchant_id = u.merchant_id AND f.payment_id = u.payment_id AND f.operation_id = u.operation_id
      AND f.result NOT IN ('unknown', 'challenge') AND ($2::timestamptz IS NULL OR b.committed_at <= $2))
  AND NOT (o.kind = 'refund' AND EXISTS (
    SELECT FROM outcomes t JOIN batches b USING (batch_id)
    WHERE t.merchant_id = u.merchant_id AND t.payment_id = u.payment_id AND t.operation_id = u.operation_id
      AND t.result = 'unknown' AND t.response_code = 'pending' AND ($2::timestamptz IS NULL OR b.committed_at <= $2)))
ORDER BY u.since, o.operation_id;

-- without_a_job --
-- P6, for the present: operations in doubt that nobody will end.
SELECT o.merchant_id, o.currency, o.payment_id, o.operation_id, o.kind, o.minor
FROM (SELECT DISTINCT x.merchant_id, x.payment_id, x.operation_id FROM outcomes x
      WHERE x.result = 'unknown' AND ($1::integer IS NULL OR x.merchant_id = $1)) u
JOIN operations o USING (merchant_id, payment_id, operation_id)
WHERE NOT EXISTS (
    SELECT FROM outcomes f
    WHERE f.merchant_id = u.merchant_id AND f.payment_id = u.payment_id AND f.operation_id = u.operation_id
      AND f.result NOT IN ('unknown', 'challenge'))
  AND NOT EXISTS (
    SELECT FROM jobs j WHERE j.merchant_id = u.merchant_id AND j.queue = 'recovery' AND j.subject = u.operation_id)
ORDER BY o.merchant_id, o.operation_id;

-- abandoned --
-- Operations without any outcome whose owner's time ran out before an instant ($3, wall time): in doubt, though nobody wrote it down yet.
SELECT o.merchant_id, o.currency, o.payment_id, o.operation_id, o.kind, o.minor, o.ask_deadline AS since, o.processor
FROM operations o
WHERE ($1::integer IS NULL OR o.merchant_id = $1) AND o.ask_deadline <= $3
  AND NOT EXISTS (
    SELECT FROM outcomes x JOIN batches b USING (batch_id)
    WHERE x.merchant_id = o.merchant_id AND x.payment_id = o.payment_id AND x.operation_id = o.operation_id
      AND ($2::timestamptz IS NULL OR b.committed_at <= $2))
ORDER BY o.ask_deadline, o.operation_id;

-- disagreeing_payments --
-- P1 to P5 per payment, from its transfers alone: which checks fail, whether more went back than was captured, and what was found.
-- A past instant has no stored amounts to compare with; reservations are then those of the operations that were in doubt.
WITH accounts AS (
    SELECT kind,
           (credit = 'hold.promised')::integer - (debit = 'hold.promised')::integer AS authorized,
           (debit = 'hold.open')::integer - (credit = 'hold.open')::integer AS open,
           (debit = 'hold.unsecured')::integer - (credit = 'hold.unsecured')::integer AS unsecured,
           (debit = 'hold.captured')::integer - (credit = 'hold.captured')::integer AS captured,
           (debit = 'hold.voided')::integer - (credit = 'hold.voided')::integer AS voided,
           (debit = 'hold.expired')::integer - (credit = 'hold.expired')::integer AS expired,
           (name IN ('use', 'use_now', 'use_late', 'use_unsecured'))::integer - (name = 'unuse')::integer AS used,
           (name = 'capture')::integer - (name = 'capture_rejected')::integer AS earned,
           (name IN ('refund', 'refund_done'))::integer - (name = 'refund_returned')::integer AS refunded,
           (credit = 'refund.pending')::integer - (debit = 'refund.pending')::integer AS refund_pending,
           (debit = 'dispute.open')::integer - (credit = 'dispute.open')::integer AS disputed,
           (name = 'dispute_lost')::integer AS charged_back
    FROM transfer_kinds
), posted AS (
    SELECT t.merchant_id, t.payment_id, min(t.currency) AS currency, max(t.currency) AS other_currency,
           sum(t.minor * a.authorized) AS authorized, sum(t.minor * a.open) AS open, sum(t.minor * a.unsecured) AS unsecured,
           sum(t.minor * a.captured) AS captured, sum(t.minor * a.voided) AS voided, sum(t.minor * a.expired) AS expired,
           sum(t.minor * a.used) AS used, sum(t.minor * a.earned) AS earned, sum(t.minor * a.refunded) AS refunded,
           sum(t.minor * a.refund_pending) AS refund_pending, sum(t.minor * a.disputed) AS disputed,
           sum(t.minor * a.charged_back) AS charged_back
    FROM transfers t JOIN accounts a USING (kind)
    WHERE ($1::integer IS NULL OR t.merchant_id = $1)
      AND ($2::timestamptz IS NULL OR t.batch_id IN (SELECT b.batch_id FROM batches b WHERE b.committed_at <= $2))
    GROUP BY t.merchant_id, t.payment_id
), waiting AS (
    SELECT o.merchant_id, o.payment_id, min(o.currency) AS currency,
           sum(o.minor) FILTER (WHERE o.kind IN ('authorization', 'purchase')) AS authorization,
           sum(o.minor) FILTER (WHERE o.kind = 'increment') AS increment,
           sum(o.minor) FILTER (WHERE o.kind = 'decrement') AS decrement,
           sum(o.minor) FILTER (WHERE o.kind = 'capture') AS capture,
           sum(o.minor) FILTER (WHERE o.kind = 'void') AS void,
           sum(o.minor - done.minor) FILTER (WHERE o.kind = 'refund') AS refund,
           sum(o.minor - done.minor) FILTER (WHERE taken.is) AS taken,
           count(*) FILTER (WHERE doubt.is AND NOT taken.is) AS unknown,
           bool_or(o.operation_id <> o.payment_id OR begun.is) AS needs_payment
    FROM operations o
    CROSS JOIN LATERAL (
        SELECT EXISTS (SELECT FROM outcomes x WHERE x.merchant_id = o.merchant_id AND x.payment_id = o.payment_id
                       AND x.operation_id = o.operation_id) AS is) begun
    CROSS JOIN LATERAL (
        SELECT begun.is AND EXISTS (
            SELECT FROM outcomes x WHERE x.merchant_id = o.merchant_id AND x.payment_id = o.payment_id
            AND x.operation_id = o.operation_id AND x.result = 'unknown'
            AND ($2::timestamptz IS NULL OR x.batch_id IN (SELECT b.batch_id FROM batches b WHERE b.committed_at <= $2))) AS is) doubt
    CROSS JOIN LATERAL (
        SELECT doubt.is AND o.kind = 'refund' AND EXISTS (
            SELECT FROM outcomes x WHERE x.merchant_id = o.merchant_id AND x.payment_id = o.payment_id
            AND x.operation_id = o.operation_id AND x.result = 'unknown' AND x.response_code = 'pending'
            AND ($2::timestamptz IS NULL OR x.batch_id IN (SELECT b.batch_id FROM batches b WHERE b.committed_at <= $2))) AS is) taken
    CROSS JOIN LATERAL (
        SELECT CASE WHEN taken.is THEN coalesce((
            SELECT sum(r.minor) FROM refund_parts r
            WHERE r.merchant_id = o.merchant_id AND r.payment_id = o.payment_id AND r.operation_id = o.operation_id AND r.state = 'done'
              AND ($2::timestamptz IS NULL OR r.batch_id IN (SELECT b.batch_id FROM batches b WHERE b.committed_at <= $2))), 0)
            ELSE 0 END AS minor) done
    WHERE ($1::integer IS NULL OR o.merchant_id = $1)
      AND NOT EXISTS (
        SELECT FROM outcomes f
        WHERE f.merchant_id = o.merchant_id AND f.payment_id = o.payment_id AND f.operation_id = o.operation_id
          AND f.result NOT IN ('unknown', 'challenge')
          AND ($2::timestamptz IS NULL OR f.batch_id IN (SELECT b.batch_id FROM batches b WHERE b.committed_at <= $2)))
      AND ($2::timestamptz IS NULL OR doubt.is)
    GROUP BY o.merchant_id, o.payment_id
), stored AS (
    SELECT p.* FROM payments p WHERE $2::timestamptz IS NULL AND ($1::integer IS NULL OR p.merchant_id = $1)
), compared AS (
    SELECT merchant_id, payment_id, coalesce(s.currency, t.currency, w.currency) AS currency, s.status,
           t.other_currency, s.currency AS stored_currency, s.payment_id IS NULL AS is_missing,
           t.payment_id IS NOT NULL OR coalesce(w.needs_payment, false) AS needs_payment,
           coalesce(t.authorized, 0) AS authorized, coalesce(t.open, 0) AS open, coalesce(t.unsecured, 0) AS unsecured,
           coalesce(t.captured, 0) AS captured, coalesce(t.voided, 0) AS voided, coalesce(t.expired, 0) AS expired,
           coalesce(t.used, 0) AS used, coalesce(t.earned, 0) AS earned, coalesce(t.refunded, 0) AS refunded,
           coalesce(t.refund_pending, 0) AS refund_pending, coalesce(t.disputed, 0) AS disputed,
           coalesce(t.charged_back, 0) AS charged_back,
           coalesce(w.authorization, 0) AS waiting_authorization, coalesce(w.increment, 0) AS waiting_increment,
           coalesce(w.decrement, 0) AS waiting_decrement, coalesce(w.capture, 0) AS waiting_capture,
           coalesce(w.void, 0) AS waiting_void, coalesce(w.refund, 0) AS waiting_refund, coalesce(w.unknown, 0) AS waiting_unknown,
           coalesce(w.taken, 0) AS waiting_taken,
           s.authorized AS stored_authorized, s.captured AS stored_captured, s.voided AS stored_voided,
           s.expired AS stored_expired, s.unsecured AS stored_unsecured, s.refunded AS stored_refunded,
           s.disputed AS stored_disputed, s.charged_back AS stored_charged_back,
           s.pending_authorization, s.pending_increment, s.pending_decrement, s.pending_capture, s.pending_void,
           s.pending_refund, s.unknown AS stored_unknown
    FROM posted t
    FULL JOIN stored s USING (merchant_id, payment_id)
    FULL JOIN waiting w USING (merchant_id, payment_id)
), checked AS (
    SELECT c.*,
           c.authorized = c.open + c.unsecured + c.captured + c.voided + c.expired
               AND least(c.open, c.unsecured, c.captured, c.voided, c.expired) >= 0 AS p1,
           c.used = c.earned AND c.used = c.captured AS p2,
           $2::timestamptz IS NOT NULL OR c.is_missing AND NOT c.needs_payment OR NOT c.is_missing
               AND (c.other_currency IS NULL OR c.other_currency = c.stored_currency AND c.currency = c.other_currency)
               AND (c.stored_authorized, c.stored_captured, c.stored_voided, c.stored_expired, c.stored_unsecured,
                    c.stored_refunded, c.stored_disputed, c.stored_charged_back)
                 = (c.authorized, c.captured, c.voided, c.expired, c.unsecured, c.refunded, c.disputed, c.charged_back)
               AND CASE c.status
                   WHEN 'authorized' THEN c.authorized > 0 AND c.captured = 0 AND c.open + c.unsecured > 0
                   WHEN 'captured' THEN c.authorized > 0
                   WHEN 'voided' THEN c.authorized > 0 AND c.captured = 0 AND c.open + c.unsecured = 0
                   WHEN 'declined' THEN c.authorized = c.voided AND c.captured = 0
                   WHEN 'created' THEN c.authorized = 0
                   WHEN 'challenged' THEN c.authorized = 0
                   ELSE false END AS p3,
           ($2::timestamptz IS NOT NULL OR c.is_missing
               OR (c.pending_authorization, c.pending_increment, c.pending_decrement, c.pending_capture, c.pending_void,
                   c.pending_refund, c.stored_unknown)
                = (c.waiting_authorization, c.waiting_increment, c.waiting_decrement, c.waiting_capture, c.waiting_void,
                   c.waiting_refund, c.waiting_unknown))
               AND c.waiting_taken = c.refund_pending
               AND c.waiting_capture + c.waiting_void + c.waiting_decrement <= c.open + c.unsecured AS p4,
           c.refunded + c.disputed + c.charged_back + c.waiting_refund <= c.captured AS p4_refund,
           c.refunded + c.refund_pending + c.disputed + c.charged_back <= c.captured AS p5
    FROM compared c
), judged AS (
    SELECT c.*, (NOT c.p4_refund OR NOT c.p5) AND EXISTS (
        SELECT FROM notices n
        WHERE n.merchant_id = c.merchant_id AND n.payment_id = c.payment_id AND n.noticed NOT LIKE 'debt\_%'
          AND ($2::timestamptz IS NULL OR n.batch_id IN (SELECT b.batch_id FROM batches b WHERE b.committed_at <= $2))) AS is_over_returned
    FROM checked c
    WHERE NOT (c.p1 AND c.p2 AND c.p3 AND c.p4 AND c.p4_refund AND c.p5)
)
SELECT merchant_id, currency, payment_id,
       array_remove(ARRAY[
           CASE WHEN NOT p1 THEN 'P1' END, CASE WHEN NOT p2 THEN 'P2' END, CASE WHEN NOT p3 THEN 'P3' END,
           CASE WHEN NOT p4 OR NOT p4_refund AND NOT is_over_returned THEN 'P4' END,
           CASE WHEN NOT p5 AND NOT is_over_returned THEN 'P5' END], NULL) AS failed,
       is_over_returned AND NOT p5 AS is_over_returned,
       jsonb_strip_nulls(to_jsonb(judged) - ARRAY[
           'merchant_id', 'payment_id', 'currency', 'p1', 'p2', 'p3', 'p4', 'p4_refund', 'p5', 'is_over_returned']) AS found
FROM judged
ORDER BY merchant_id, payment_id;

-- disagreeing_captures --
-- P5 per capture: what refunds returned of it, by their allotments and what became of their parts, against what was captured; and, now, against the stored captures.
-- Of payments that facts changed only the stored sums can be compared: facts are not allotted by an operation.
WITH noticed AS (
    SELECT DISTINCT n.merchant_id, n.payment_id
    FROM notices n
    WHERE n.noticed NOT LIKE 'debt\_%' AND ($1::integer IS NULL OR n.merchant_id = $1)
      AND ($2::timestamptz IS NULL OR n.batch_id IN (SELECT b.batch_id FROM batches b WHERE b.committed_at <= $2))
), booked AS (
    SELECT t.merchant_id, t.payment_id, t.operation_id AS capture_id, sum(t.minor) AS minor
    FROM transfers t
    WHERE ($1::integer IS NULL OR t.merchant_id = $1)
      AND t.kind = (SELECT kind FROM transfer_kinds WHERE name = 'capture')
      AND ($2::timestamptz IS NULL OR t.batch_id IN (SELECT b.batch_id FROM batches b WHERE b.committed_at <= $2))
    GROUP BY t.merchant_id, t.payment_id, t.operation_id
), returned AS (
    SELECT o.merchant_id, o.payment_id, part.capture_id,
           sum(CASE WHEN f.result = 'approved' THEN part.minor ELSE part.done END) AS refunded,
           sum(part.minor - part.done) FILTER (WHERE f.result IS NULL) AS pending
    FROM operations o
    CROSS JOIN LATERAL (
        SELECT o.allotment[place] AS capture_id, o.allotment[place + 1] AS minor, 0::bigint AS done
        FROM generate_series(1, cardinality(o.allotment), 2) AS place
        UNION ALL
        SELECT r.capture_id, CASE r.state WHEN 'asked' THEN r.minor WHEN 'moved' THEN -r.minor ELSE 0 END,
               CASE r.state WHEN 'done' THEN r.minor ELSE 0 END
        FROM refund_parts r
        WHERE r.merchant_id = o.merchant_id AND r.payment_id = o.payment_id AND r.operation_id = o.operation_id
          AND ($2::timestamptz IS NULL OR r.batch_id IN (SELECT b.batch_id FROM batches b WHERE b.committed_at <= $2))) part
    LEFT JOIN LATERAL (
        SELECT x.result FROM outcomes x
        WHERE x.merchant_id = o.merchant_id AND x.payment_id = o.payment_id AND x.operation_id = o.operation_id
          AND x.result NOT IN ('unknown', 'challenge')
          AND ($2::timestamptz IS NULL OR x.batch_id IN (SELECT b.batch_id FROM batches b WHERE b.committed_at <= $2))
        ORDER BY x.attempt LIMIT 1) f ON true
    WHERE o.kind = 'refund' AND ($1::integer IS NULL OR o.merchant_id = $1)
    GROUP BY o.merchant_id, o.payment_id, part.capture_id
), stored AS (
    SELECT p.merchant_id, p.payment_id, p.captures[place] AS capture_id, p.captures[place + 1] AS minor,
           p.captures[place + 2] AS refunded, p.captures[place + 3] AS pending, p.captures[place + 4] AS disputed,
           p.captures[place + 5] AS charged_back
    FROM payments p CROSS JOIN LATERAL generate_series(1, cardinality(p.captures), 6) AS place
    WHERE $2::timestamptz IS NULL AND ($1::integer IS NULL OR p.merchant_id = $1)
), compared AS (
    SELECT merchant_id, payment_id, capture_id, s.capture_id IS NULL AS is_missing,
           coalesce(b.minor, 0) AS captured, coalesce(r.refunded, 0) AS refunded,
           CASE WHEN $2::timestamptz IS NULL THEN coalesce(r.pending, 0) ELSE 0 END AS pending,
           s.minor AS stored_minor, s.refunded AS stored_refunded, s.pending AS stored_pending,
           s.disputed AS stored_disputed, s.charged_back AS stored_charged_back
    FROM booked b
    FULL JOIN returned r USING (merchant_id, payment_id, capture_id)
    FULL JOIN stored s USING (merchant_id, payment_id, capture_id)
), by_capture AS (
    SELECT c.merchant_id, c.payment_id, c.capture_id, false AS is_over_returned,
           to_jsonb(c) - ARRAY['merchant_id', 'payment_id'] AS found
    FROM compared c LEFT JOIN noticed n USING (merchant_id, payment_id)
    WHERE n.payment_id IS NULL
      AND (c.refunded + c.pending > c.captured
           OR $2::timestamptz IS NULL AND (c.is_missing
              OR (c.stored_minor, c.stored_refunded, c.stored_pending, c.stored_disputed, c.stored_charged_back)
              <> (c.captured, c.refunded, c.pending, 0, 0)))
), by_fact AS (
    SELECT p.merchant_id, p.payment_id, 0::bigint AS capture_id,
           (p.captured, p.refunded, p.pending_refund, p.disputed, p.charged_back)
             = (c.minor, c.refunded, c.pending, c.disputed, c.charged_back) AS is_over_returned,
           to_jsonb(c) AS found
    FROM noticed n
    JOIN payments p USING (merchant_id, payment_id)
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(s.minor), 0) AS minor, coalesce(sum(s.refunded), 0) AS refunded,
               coalesce(sum(s.pending), 0) AS pending, coalesce(sum(s.disputed), 0) AS disputed,
               coalesce(sum(s.charged_back), 0) AS charged_back,
               coalesce(sum(greatest(0, s.refunded + s.disputed + s.charged_back - s.minor)), 0) AS excess
        FROM stored s WHERE s.merchant_id = p.merchant_id AND s.payment_id = p.payment_id) c
    WHERE $2::timestamptz IS NULL
      AND (c.excess > 0 OR (p.captured, p.refunded, p.pending_refund, p.disputed, p.charged_back)
                        <> (c.minor, c.refunded, c.pending, c.disputed, c.charged_back))
)
SELECT d.*, (SELECT o.currency FROM operations o WHERE o.merchant_id = d.merchant_id AND o.payment_id = d.payment_id LIMIT 1) AS currency
FROM (SELECT * FROM by_capture UNION ALL SELECT * FROM by_fact) d
ORDER BY d.merchant_id, d.payment_id, d.capture_id;

-- disagreeing_rows --
-- P3: outcomes whose payment has no row, and payments that nobody asked for.
SELECT DISTINCT x.merchant_id, x.payment_id, 'an outcome without a payment' AS problem,
       (SELECT o.currency FROM operations o
        WHERE o.merchant_id = x.merchant_id AND o.payment_id = x.payment_id LIMIT 1) AS currency
FROM outcomes x
WHERE ($1::integer IS NULL OR x.merchant_id = $1)
  AND NOT EXISTS (SELECT FROM payments p WHERE p.merchant_id = x.merchant_id AND p.payment_id = x.payment_id)
UNION ALL
SELECT p.merchant_id, p.payment_id, 'a payment without an outcome', p.currency
FROM payments p
WHERE ($1::integer IS NULL OR p.merchant_id = $1)
  AND NOT EXISTS (
    SELECT FROM outcomes x
    WHERE x.merchant_id = p.merchant_id AND x.payment_id = p.payment_id AND x.operation_id = p.payment_id);

-- clearing --
-- P10: what stands on the clearing accounts, by payment, oldest first.
SELECT merchant_id, currency, account, payment_id, balance, since
FROM (
    SELECT t.merchant_id, t.currency, a.account, t.payment_id, sum(t.minor * a.sign) AS balance, min(t.value_date) AS since
    FROM transfers t
    JOIN (SELECT kind, debit AS account, 1 AS sign FROM transfer_kinds
          UNION ALL SELECT kind, credit, -1 FROM transfer_kinds) a USING (kind)
    WHERE a.account IN ('processor.settling', 'refund.pending', 'dispute.open', 'suspense')
      AND ($1::integer IS NULL OR t.merchant_id = $1)
      AND ($2::timestamptz IS NULL OR t.batch_id IN (SELECT b.batch_id FROM batches b WHERE b.committed_at <= $2))
    GROUP BY t.merchant_id, t.currency, a.account, t.payment_id) items
WHERE balance <> 0
ORDER BY since, merchant_id, payment_id;

-- disagreeing_trips --
-- P11, for the present: trips whose cart has a price: what disagrees between the register of debts and its transfers, and what is no more
-- than under way (a rejected capture, a later one that the register will know in a moment): then is_open.
WITH posted AS (
    SELECT t.merchant_id, t.payment_id, min(t.currency) AS currency,
           coalesce(sum(t.minor) FILTER (WHERE k.name = 'capture'), 0) AS captured,
           coalesce(sum(t.minor) FILTER (WHERE k.name = 'capture_rejected'), 0) AS rejected,
           coalesce(sum(t.minor * CASE k.name WHEN 'debt' THEN 1 WHEN 'debt_lowered' THEN -1 ELSE 0 END), 0) AS incurred,
           coalesce(sum(t.minor * CASE k.name WHEN 'debt_recovered' THEN 1 WHEN 'debt_reopened' THEN -1 ELSE 0 END), 0) AS recovered,
           coalesce(sum(t.minor) FILTER (WHERE k.name = 'debt_forgiven'), 0) AS forgiven
    FROM (SELECT d.merchant_id, d.payment_id FROM debts d WHERE $1::integer IS NULL OR d.merchant_id = $1
          UNION SELECT t.merchant_id, t.payment_id FROM transfers t JOIN transfer_kinds k USING (kind)
                WHERE 'debt.owed' IN (k.debit, k.credit) AND ($1::integer IS NULL OR t.merchant_id = $1)) concerned
    JOIN transfers t USING (merchant_id, payment_id)
    JOIN transfer_kinds k USING (kind)
    GROUP BY t.merchant_id, t.payment_id
), waiting AS (
    SELECT b.merchant_id, b.payment_id,
           coalesce(sum(b.minor * CASE b.noticed WHEN 'debt_incurred' THEN 1 WHEN 'debt_lowered' THEN -1 ELSE 0 END), 0) AS incurred,
           coalesce(sum(b.minor * CASE b.noticed WHEN 'debt_recovered' THEN 1 WHEN 'debt_reopened' THEN -1 ELSE 0 END), 0) AS recovered,
           coalesce(sum(b.minor) FILTER (WHERE b.noticed = 'debt_forgiven'), 0) AS forgiven
    FROM debt_bookings b
    WHERE ($1::integer IS NULL OR b.merchant_id = $1) AND NOT EXISTS (
        SELECT FROM notices n WHERE n.merchant_id = b.merchant_id AND n.payment_id = b.payment_id
          AND n.identity = 'debt:' || b.payment_id || ':' || b.place AND n.noticed = b.noticed AND n.minor = b.minor)
    GROUP BY b.merchant_id, b.payment_id
), compared AS (
    SELECT merchant_id, payment_id, coalesce(d.currency, t.currency) AS currency, d.number, d.store, d.trip, d.is_closed,
           d.total, d.captured AS closed_with, d.rejected AS known_rejected, d.incurred AS stored_incurred,
           d.recovered AS stored_recovered, d.forgiven AS stored_forgiven, d.owed AS stored_owed,
           coalesce(t.captured, 0) AS captured, coalesce(t.rejected, 0) AS rejected,
           coalesce(t.incurred, 0) AS incurred, coalesce(t.recovered, 0) AS recovered, coalesce(t.forgiven, 0) AS forgiven,
           coalesce(w.incurred, 0) AS waiting_incurred, coalesce(w.recovered, 0) AS waiting_recovered,
           coalesce(w.forgiven, 0) AS waiting_forgiven
    FROM debts d FULL JOIN posted t USING (merchant_id, payment_id)
    LEFT JOIN waiting w USING (merchant_id, payment_id)
    WHERE $1::integer IS NULL OR merchant_id = $1
), judged AS (
    SELECT c.*, CASE
        WHEN c.number IS NULL THEN 'a debt without an account'
        WHEN NOT c.is_closed AND (c.incurred, c.recovered, c.forgiven) <> (0, 0, 0) THEN 'a debt of an account that is open'
        WHEN NOT c.is_closed THEN NULL
        WHEN (c.incurred + c.waiting_incurred, c.recovered + c.waiting_recovered, c.forgiven + c.waiting_forgiven)
            <> (c.stored_incurred, c.stored_recovered, c.stored_forgiven) THEN 'other transfers than the account says'
        WHEN c.stored_owed <> c.stored_incurred - c.stored_recovered - c.stored_forgiven
            OR least(c.incurred - c.recovered - c.forgiven, c.recovered, c.forgiven) < 0 THEN 'more was paid or forgiven than was owed'
        WHEN c.captured < c.closed_with OR c.rejected < c.known_rejected THEN 'captured less than the account was closed with'
        WHEN c.total <> c.closed_with - c.known_rejected + c.stored_incurred THEN 'the price is not what was captured and what is owed for'
        WHEN c.rejected > c.known_rejected THEN 'a rejected capture is not owed yet' END AS problem
    FROM compared c
)
SELECT merchant_id, payment_id, currency, problem, problem = 'a rejected capture is not owed yet' AS is_open,
       jsonb_strip_nulls(to_jsonb(judged) - ARRAY['merchant_id', 'payment_id', 'currency', 'problem', 'is_closed']) AS found
FROM judged WHERE problem IS NOT NULL
ORDER BY merchant_id, payment_id;

-- disagreeing_debts --
-- P11, as of an instant, from transfers alone: payments of which more was recovered and forgiven than was owed.
SELECT t.merchant_id, t.payment_id, min(t.currency) AS currency, sum(t.minor * (k.debit = 'debt.owed')::integer
       - t.minor * (k.credit = 'debt.owed')::integer) AS owed
FROM transfers t JOIN transfer_kinds k USING (kind)
WHERE 'debt.owed' IN (k.debit, k.credit) AND ($1::integer IS NULL OR t.merchant_id = $1)
  AND ($2::timestamptz IS NULL OR t.batch_id IN (SELECT b.batch_id FROM batches b WHERE b.committed_at <= $2))
GROUP BY t.merchant_id, t.payment_id
HAVING sum(t.minor * (k.debit = 'debt.owed')::integer - t.minor * (k.credit = 'debt.owed')::integer) < 0
ORDER BY t.merchant_id, t.payment_id;
