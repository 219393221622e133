-- make_plans --
-- Plans of a merchant ($1) on tokens ($2), $3 of them numbered from 1, which are all due on one day ($4), and their jobs, due at $5.
WITH made AS (
    INSERT INTO plans (merchant_id, number, plan_id, status, kind, token_name, minor, currency, email, description, start, every, unit,
                       anchor, zone, until, count, missed, failed, notice_days, place, announced, created_at, changed_at)
    SELECT $1::integer, n, 'P' || n, 'active', 'charge', ($2::text[])[1 + n % cardinality($2::text[])], 1000 + n % 9000, 'AED',
           'payer' || n % 997 || '@shop.example', 'Gym one month', $4::date, 1, 'month', extract(day FROM $4::date)::integer, 'UTC', NULL, NULL,
           'charge_missed', 'pause', 0, 0, -1, $6::timestamptz, $6::timestamptz
    FROM generate_series(1, $3::integer) AS n
    RETURNING merchant_id, number
)
INSERT INTO jobs (merchant_id, queue, subject, payment_id, due_at)
SELECT merchant_id, 'plan', number, 0, $5::timestamptz FROM made;

-- charged --
-- Due dates that were charged.
SELECT count(*) FROM plan_periods WHERE state = 'charged';

-- why_not --
-- What stands with plans that rest.
SELECT DISTINCT reason FROM plans WHERE status <> 'active' LIMIT 3;

-- attempts --
-- What plans were asked for: the operations, their references, those that were approved once and ended once, and plans that say so.
SELECT count(*) AS operations, count(DISTINCT o.reference) AS orders,
       count(*) FILTER (WHERE x.ends = 1 AND x.approved = 1) AS approvals,
       (SELECT count(*) FROM plans p WHERE p.charged = 1 AND p.place = 1) AS plans,
       (SELECT count(*) FROM plan_attempts a WHERE a.result = 'approved') AS attempts
FROM operations o
CROSS JOIN LATERAL (
    SELECT count(*) FILTER (WHERE y.result IN ('approved', 'declined', 'reversed', 'not_asked')) AS ends,
           count(*) FILTER (WHERE y.result = 'approved') AS approved
    FROM outcomes y WHERE y.merchant_id = o.merchant_id AND y.payment_id = o.payment_id AND y.operation_id = o.operation_id) x
WHERE o.source = 'plan';
