-- P8 of the proof: the transfers (legs) of every operation.  $1 and $2 as in proof.sql.

-- disagreeing_operations --
-- P8: every attempt has exactly the transfers that its outcome asks for, at its places, in its batch and currency; every
-- operation has at most one final outcome; every fact has no other transfers than its kind's; and there are no others.
WITH legal (shape, kinds, times) AS (VALUES
    -- what became of the operation, the transfers in their order, and how often the amount stands in them together
    ('nothing',       '',                               0),
    ('authorization', 'authorize',                      1),
    ('not_wanted',    'authorize void',                 2),
    ('purchase',      'use_now capture',                2),
    ('increment',     'increase',                       1),
    ('decrement',     'decrease',                       1),
    ('decrement',     'void_unsecured',                 1),
    ('decrement',     'decrease void_unsecured',        1),
    ('capture',       'use capture',                    2),
    ('capture',       'use_unsecured capture',          2),
    ('capture',       'use use_unsecured capture',      2),
    -- the last capture: what it leaves is given back with it, which is judged by itself
    ('final',         'use capture',                    0),
    ('final',         'use_unsecured capture',          0),
    ('final',         'use use_unsecured capture',      0),
    ('final',         'use capture void',               0),
    ('final',         'use capture void_unsecured',     0),
    ('final',         'use capture void void_unsecured', 0),
    ('final',         'use_unsecured capture void_unsecured', 0),
    ('final',         'use use_unsecured capture void_unsecured', 0),
    ('void',          'void',                           1),
    ('void',          'void_unsecured',                 1),
    ('void',          'void void_unsecured',            1),
    ('expiry',        'expire',                         1),
    ('expiry',        'expire_unsecured',               1),
    ('expiry',        'expire expire_unsecured',        1),
    ('refund',        'refund',                         1),
    -- a refund that is taken: in any number, and of amounts that are judged by themselves
    ('taken',         '',                               0),
    ('taken',         'refund_asked',                   0),
    ('taken',         'refund_done',                    0),
    ('taken',         'refund_asked refund_done',       0),
    ('taken',         'refund_failed',                  0),
    ('undone',        '',                               0),
    ('undone',        'money_in_suspense suspense_returned', 0)
), legal_fact (noticed, kinds) AS (VALUES
    ('hold_dropped',        'unsecure'),
    ('held_again',          'resecure'),
    ('capture_rejected',    'unuse capture_rejected'),
    ('refund_returned',     'refund_returned'),
    ('chargeback',          'chargeback'),
    ('chargeback_returned', 'chargeback_back'),
    ('dispute_lost',        'dispute_lost'),
    ('debt_incurred',       'debt'),
    ('debt_lowered',        'debt_lowered'),
    ('debt_recovered',      'debt_recovered'),
    ('debt_reopened',       'debt_reopened'),
    ('debt_forgiven',       'debt_forgiven')
), kept AS (
    SELECT b.batch_id FROM batches b WHERE $2::timestamptz IS NOT NULL AND b.committed_at <= $2
), legs AS (
    SELECT t.merchant_id, t.payment_id, t.operation_id, t.leg / 10000 + 1 AS attempt,
           string_agg(coalesce(k.name, '?'), ' ' ORDER BY t.leg) AS kinds, array_agg(t.minor ORDER BY t.leg) AS minors,
           sum(t.minor) AS total,
           coalesce(sum(t.minor) FILTER (WHERE k.name = 'refund_asked'), 0) AS asked_minor,
           coalesce(sum(t.minor) FILTER (WHERE k.name = 'refund_done'), 0) AS done_minor,
           coalesce(sum(t.minor) FILTER (WHERE k.name = 'refund_failed'), 0) AS failed_minor,
           coalesce(sum(t.minor) FILTER (WHERE k.name IN ('void', 'void_unsecured')), 0) AS given_back,
           coalesce(sum(t.minor) FILTER (WHERE k.name = 'capture'), 0) AS captured_minor, max(t.leg % 10000) + 1 = count(*) AS is_dense,
           min(t.currency) AS currency, max(t.currency) AS other_currency,
           min(t.batch_id) AS batch_id, max(t.batch_id) AS other_batch_id
    FROM transfers t LEFT JOIN transfer_kinds k USING (kind)
    WHERE ($1::integer IS NULL OR t.merchant_id = $1)
      AND ($2::timestamptz IS NULL OR t.batch_id IN (SELECT batch_id FROM kept))
    GROUP BY t.merchant_id, t.payment_id, t.operation_id, t.leg / 10000 + 1
), attempts AS (
    SELECT x.merchant_id, x.payment_id, x.operation_id, x.attempt, x.result, x.minor, x.batch_id,
           o.kind, o.minor AS asked, o.currency, o.accepts_partial, o.reason, o.allotment,
           x.result IN ('approved', 'declined', 'reversed', 'not_asked') AS is_final,
           coalesce(sum((x.result = 'unknown')::integer) OVER before, 0) AS doubts_before,
           o.kind = 'refund' AND x.result = 'unknown' AND x.response_code = 'pending' AS is_taken,
           o.kind = 'refund'
               AND coalesce(sum((x.result = 'unknown' AND x.response_code = 'pending')::integer) OVER before, 0) > 0 AS taken_before,
           coalesce((SELECT sum(r.minor) FROM refund_parts r
                     WHERE r.merchant_id = x.merchant_id AND r.payment_id = x.payment_id AND r.operation_id = x.operation_id
                       AND r.attempt = x.attempt AND r.state = 'done'), 0) AS done_now,
           coalesce((SELECT sum(r.minor) FROM refund_parts r
                     WHERE r.merchant_id = x.merchant_id AND r.payment_id = x.payment_id AND r.operation_id = x.operation_id
                       AND r.attempt < x.attempt AND r.state = 'done'), 0) AS done_before,
           coalesce(sum((x.result IN ('approved', 'declined', 'reversed', 'not_asked'))::integer) OVER before, 0) AS finals_before
    FROM outcomes x LEFT JOIN operations o USING (merchant_id, payment_id, operation_id)
    WHERE ($1::integer IS NULL OR x.merchant_id = $1)
      AND ($2::timestamptz IS NULL OR x.batch_id IN (SELECT batch_id FROM kept))
    WINDOW before AS (PARTITION BY x.merchant_id, x.payment_id, x.operation_id ORDER BY x.attempt
                      ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
), expected AS (
    SELECT a.*,
           CASE WHEN a.is_taken OR a.taken_before THEN 'taken'
                WHEN a.result = 'reversed' AND a.kind = 'purchase' THEN 'undone'
                WHEN a.result <> 'approved' THEN 'nothing'
                WHEN a.kind IN ('authorization', 'purchase') AND a.minor < a.asked AND NOT a.accepts_partial THEN 'not_wanted'
                WHEN a.kind = 'void' AND a.reason = 'expired' THEN 'expiry'
                WHEN a.kind = 'capture' AND a.reason = 'not_wanted' THEN 'final'
                ELSE a.kind END AS shape,
           CASE WHEN a.taken_before THEN ''
                WHEN a.is_taken THEN CASE WHEN a.doubts_before > 0 THEN 'doubt_refund_ended' ELSE '' END
                WHEN a.result = 'unknown' AND a.doubts_before = 0 THEN 'doubt_' || a.kind
                WHEN a.is_final AND a.doubts_before > 0 THEN 'doubt_' || a.kind || '_ended'
                ELSE '' END AS lead
    FROM attempts a
), matched AS (
    SELECT merchant_id, payment_id, operation_id, attempt, e.result, e.minor, e.kind, e.asked, e.currency, e.shape, e.lead,
           e.accepts_partial, e.is_taken, e.taken_before, e.done_now, e.done_before,
           coalesce(l.asked_minor, 0) AS asked_minor, coalesce(l.done_minor, 0) AS done_minor, coalesce(l.failed_minor, 0) AS failed_minor,
           coalesce(l.given_back, 0) AS given_back, coalesce(l.captured_minor, 0) AS captured_minor,
           e.allotment, e.is_final, e.finals_before, e.batch_id AS outcome_batch_id,
           coalesce(l.kinds, '') AS kinds, coalesce(l.minors, '{}') AS minors, coalesce(l.total, 0) AS total,
           coalesce(l.is_dense, true) AS is_dense, l.currency AS first_currency, l.other_currency, l.batch_id, l.other_batch_id,
           CASE WHEN e.lead = '' THEN coalesce(l.kinds, '')
                WHEN l.kinds = e.lead THEN ''
                WHEN starts_with(l.kinds, e.lead || ' ') THEN substr(l.kinds, length(e.lead) + 2)
                ELSE '?' END AS rest
    FROM expected e FULL JOIN legs l USING (merchant_id, payment_id, operation_id, attempt)
), judged AS (
    SELECT m.*,
           CASE
               WHEN m.result IS NULL AND n.noticed IS NULL THEN 'transfers without an outcome or a fact'
               WHEN m.result IS NULL AND NOT EXISTS (
                   SELECT FROM legal_fact f WHERE f.noticed = n.noticed AND f.kinds = m.kinds)
                   THEN 'transfers that are not those of the fact'
               WHEN m.result IS NULL AND (m.batch_id, m.other_batch_id) <> (n.batch_id, n.batch_id)
                   THEN 'transfers in another batch than their fact'
               WHEN m.result IS NULL THEN NULL
               WHEN m.kind IS NULL THEN 'an outcome without its operation'
               WHEN m.is_final AND m.finals_before > 0 THEN 'a second final outcome'
               WHEN m.result = 'approved' AND (m.minor NOT BETWEEN 1 AND m.asked
                    OR m.minor < m.asked AND m.kind NOT IN ('authorization', 'purchase') AND NOT (m.kind = 'increment' AND m.accepts_partial))
                   THEN 'an approved amount that cannot be'
               WHEN m.result <> 'approved' AND m.minor <> 0 THEN 'an amount without an approval'
               WHEN l.kinds IS NULL THEN 'other transfers than the outcome asks for'
               WHEN NOT m.is_dense THEN 'transfers at other places'
               WHEN m.shape = 'undone' AND m.rest <> '' AND (m.lead = '' OR cardinality(m.minors) <> 3
                    OR m.minors[1] <> m.asked OR m.minors[2] <> m.minors[3] OR m.minors[2] > m.asked)
                   THEN 'transfers of another amount'
               WHEN m.shape = 'undone' AND m.rest <> '' THEN CASE
                   WHEN (m.first_currency, m.other_currency) <> (m.currency, m.currency) THEN 'transfers in another currency'
                   WHEN (m.batch_id, m.other_batch_id) <> (m.outcome_batch_id, m.outcome_batch_id)
                       THEN 'transfers in another batch than their outcome' END
               WHEN m.shape = 'taken' AND (m.lead <> '' AND m.minors[1] <> m.asked
                    OR m.asked_minor <> CASE WHEN m.is_taken AND NOT m.taken_before THEN m.asked ELSE 0 END
                    OR m.done_minor <> CASE m.result WHEN 'approved' THEN m.asked - m.done_before ELSE m.done_now END
                    OR m.failed_minor <> CASE WHEN m.result IN ('approved', 'unknown') THEN 0 ELSE m.asked - m.done_before END)
                   THEN 'transfers of another amount'
               WHEN m.shape = 'taken' THEN CASE
                   WHEN (m.first_currency, m.other_currency) <> (m.currency, m.currency) THEN 'transfers in another currency'
                   WHEN (m.batch_id, m.other_batch_id) <> (m.outcome_batch_id, m.outcome_batch_id)
                       THEN 'transfers in another batch than their outcome' END
               WHEN m.lead <> '' AND m.minors[1] <> m.asked
                    OR m.shape = 'final' AND (m.captured_minor <> m.minor
                        OR m.total - m.given_back <> 2 * m.minor + CASE WHEN m.lead = '' THEN 0 ELSE m.asked END)
                    OR m.shape <> 'final' AND m.total <> l.times * m.minor + CASE WHEN m.lead = '' THEN 0 ELSE m.asked END
                    OR l.times = 2 AND m.minors[cardinality(m.minors)] <> m.minor
                   THEN 'transfers of another amount'
               WHEN m.shape = 'refund' AND m.minors[cardinality(m.minors) - cardinality(m.allotment) / 2 + 1:] <> (
                   SELECT array_agg(m.allotment[place + 1] ORDER BY place)
                   FROM generate_series(1, cardinality(m.allotment), 2) AS place)
                   THEN 'transfers of other parts than the refund was allotted to'
               WHEN (m.first_currency, m.other_currency) <> (m.currency, m.currency) THEN 'transfers in another currency'
               WHEN (m.batch_id, m.other_batch_id) <> (m.outcome_batch_id, m.outcome_batch_id)
                   THEN 'transfers in another batch than their outcome'
           END AS problem
    FROM matched m
    LEFT JOIN legal l ON l.shape = m.shape AND l.kinds = CASE
        WHEN m.shape = 'taken' THEN regexp_replace(m.rest, '\m(refund_\w+)( \1)+\M', '\1', 'g')
        WHEN m.shape = 'refund' AND m.rest = rtrim(repeat('refund ', cardinality(m.allotment) / 2)) THEN 'refund'
        ELSE m.rest END
    LEFT JOIN notices n ON m.result IS NULL AND m.attempt = 1 AND n.merchant_id = m.merchant_id
        AND n.payment_id = m.payment_id AND n.operation_id = m.operation_id
)
SELECT merchant_id, coalesce(currency, first_currency) AS currency, payment_id, operation_id, attempt, problem,
       kind, result, minor, kinds, total
FROM judged WHERE problem IS NOT NULL
ORDER BY merchant_id, payment_id, operation_id, attempt;
