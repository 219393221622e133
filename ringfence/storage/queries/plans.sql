-- insert_plan --
-- Make a plan, its number one above the merchant's last; nothing is returned where its name or number is taken.
INSERT INTO plans (merchant_id, number, plan_id, status, kind, token_name, minor, currency, email, description, start, every, unit,
                   anchor, zone, until, count, missed, failed, notice_days, place, announced, created_at, changed_at)
SELECT $1::integer, coalesce((SELECT max(p.number) FROM plans p WHERE p.merchant_id = $1::integer), 0) + 1, $2, 'active', $3, $4, $5, $6,
       $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, 0, -1, $19, $19
ON CONFLICT DO NOTHING
RETURNING number;

-- plan --
-- One plan by its name.
SELECT * FROM plans WHERE merchant_id = $1::integer AND plan_id = $2::text;

-- lock_plan --
-- One plan by its number, held until the commit: what is decided about it is decided here.
SELECT * FROM plans WHERE merchant_id = $1::integer AND number = $2::bigint FOR UPDATE;

-- save_plan --
-- Store what has changed of a plan that is held.
UPDATE plans
SET version = version + 1, status = $3, reason = $4, token_name = $5, minor = $6, email = $7, description = $8, until = $9, count = $10,
    missed = $11, failed = $12, notice_days = $13, place = $14, announced = $15, charged = $16, notices = $17, hard_card = $18,
    paused_at = $19, changed_at = $20
WHERE merchant_id = $1::integer AND number = $2::bigint;

-- plans --
-- Plans in the order of their numbers: of one merchant ($1) or all, in one state ($2), behind another one ($3, $4), at most $5.
SELECT * FROM plans p
WHERE ($1::integer IS NULL OR p.merchant_id = $1) AND ($2::text IS NULL OR p.status = $2)
  AND ($3::integer IS NULL OR (p.merchant_id, p.number) > ($3, $4::bigint))
ORDER BY p.merchant_id, p.number LIMIT $5;

-- hold_plans --
-- Plans by their numbers ($1 merchants, $2 numbers), held until the commit, in the order that they are named in, which is that of their keys:
-- two handfuls cannot embrace.  One lookup for each: as a join it might become a walk through all plans in that order.
SELECT h.* FROM unnest($1::integer[], $2::bigint[]) AS k (merchant_id, number)
CROSS JOIN LATERAL (SELECT p.* FROM plans p WHERE p.merchant_id = k.merchant_id AND p.number = k.number FOR UPDATE) h;

-- save_plans --
-- Store what has changed of plans that are held.
UPDATE plans p
SET version = p.version + 1, status = n.status, reason = n.reason, place = n.place, announced = n.announced, charged = n.charged,
    notices = n.notices, hard_card = n.hard_card, paused_at = n.paused_at, changed_at = n.changed_at
FROM unnest($1::plans[]) AS n
WHERE p.merchant_id = n.merchant_id AND p.number = n.number;

-- unfinished --
-- Periods of plans ($1 merchants, $2 numbers) that are open or asked for.
SELECT q.merchant_id, q.number, q.place, q.due_date, q.minor, q.state, q.attempts, q.declines, q.next_at, q.first_at
FROM unnest($1::integer[], $2::bigint[]) AS k (merchant_id, number)
CROSS JOIN LATERAL (
    SELECT o.* FROM plan_periods o
    WHERE o.merchant_id = k.merchant_id AND o.number = k.number AND o.state IN ('open', 'asked')
    ORDER BY o.place LIMIT 1000000) q;

-- save_period --
-- Store a period of a plan that is held.
INSERT INTO plan_periods AS p VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
ON CONFLICT (merchant_id, number, place) DO UPDATE
SET state = excluded.state, attempts = excluded.attempts, declines = excluded.declines, next_at = excluded.next_at,
    first_at = excluded.first_at, payment_id = excluded.payment_id, link = excluded.link, reason = excluded.reason,
    changed_at = excluded.changed_at;

-- save_periods --
-- Store periods of plans that are held.
INSERT INTO plan_periods AS p
SELECT n.* FROM unnest($1::plan_periods[]) AS n ORDER BY n.merchant_id, n.number, n.place
ON CONFLICT (merchant_id, number, place) DO UPDATE
SET state = excluded.state, attempts = excluded.attempts, declines = excluded.declines, next_at = excluded.next_at,
    first_at = excluded.first_at, payment_id = excluded.payment_id, link = excluded.link, reason = excluded.reason,
    changed_at = excluded.changed_at;

-- pass_over --
-- Store periods ($3 places, $4 due dates) of a plan that is held as skipped.
INSERT INTO plan_periods
SELECT $1::integer, $2::bigint, s.place, s.due_date, $5::bigint, 'skipped', 0, 0, $7::timestamptz, NULL, NULL, '', $6::text, $7::timestamptz
FROM unnest($3::integer[], $4::date[]) AS s (place, due_date)
ON CONFLICT DO NOTHING;

-- drop_open --
-- Give up what is open of a plan that came to its end.
UPDATE plan_periods SET state = 'dropped', reason = $3::text, changed_at = $4::timestamptz
WHERE merchant_id = $1::integer AND number = $2::bigint AND state = 'open';

-- hasten_open --
-- What is open of a plan is due at once.
UPDATE plan_periods SET next_at = least(next_at, $3::timestamptz)
WHERE merchant_id = $1::integer AND number = $2::bigint AND state = 'open';

-- note_attempts --
-- Store what came of attempts, once.
INSERT INTO plan_attempts SELECT n.* FROM unnest($1::plan_attempts[]) AS n ORDER BY n.merchant_id, n.number, n.place, n.attempt
ON CONFLICT DO NOTHING;

-- card --
-- The card behind a token: its number, and its brand.
SELECT c.card_id, c.brand FROM tokens t JOIN cards c USING (merchant_id, card_id)
WHERE t.merchant_id = $1::integer AND t.token_name = $2::text;

-- chargeable --
-- A token and what its card may do.
SELECT t.active, c.brand, c.first_reference, c.blocked FROM tokens t JOIN cards c USING (merchant_id, card_id)
WHERE t.merchant_id = $1::integer AND t.token_name = $2::text;

-- cards --
-- The cards behind tokens ($1 merchants, $2 names), and when merchants were declined with them by themselves since $3, in order, the last
-- 1000 of them: through whatever door, file or plan.
SELECT t.merchant_id, t.token_name, c.card_id, c.brand, ARRAY(
    SELECT d.declined_at FROM (
        SELECT x.declined_at FROM card_declines x
        WHERE x.merchant_id = c.merchant_id AND x.card_id = c.card_id AND x.declined_at > k.since
        ORDER BY x.declined_at DESC LIMIT 1000) d
    ORDER BY d.declined_at)
FROM unnest($1::integer[], $2::text[], $3::timestamptz[]) AS k (merchant_id, token_name, since)
JOIN tokens t USING (merchant_id, token_name) JOIN cards c USING (merchant_id, card_id);

-- asked_under --
-- The operations that hold keys ($1 merchants, $2 keys), with their latest outcome and their payment's status; nulls for what is not there yet.
SELECT k.merchant_id, k.key, o.payment_id, o.actor, o.card_id, l.result, l.response_code, l.advice, p.status
FROM unnest($1::integer[], $2::text[]) AS k (merchant_id, key)
JOIN operations o ON o.merchant_id = k.merchant_id AND o.key = k.key AND o.key IS NOT NULL
LEFT JOIN LATERAL (
    SELECT x.result, x.response_code, x.advice FROM outcomes x
    WHERE x.merchant_id = o.merchant_id AND x.payment_id = o.payment_id AND x.operation_id = o.operation_id
    ORDER BY x.attempt DESC LIMIT 1) l ON true
LEFT JOIN payments p ON p.merchant_id = o.merchant_id AND p.payment_id = o.payment_id;

-- periods --
-- A plan's periods, the last ones first.
SELECT place, due_date, minor, state, attempts, declines, next_at, first_at, payment_id, link, reason, changed_at
FROM plan_periods WHERE merchant_id = $1::integer AND number = $2::bigint
ORDER BY place DESC LIMIT $3;

-- attempts --
-- The attempts of a plan's periods from a place on, the last ones first.
SELECT place, attempt, reference, card_id, payment_id, result, response_code, advice, ended_at
FROM plan_attempts WHERE merchant_id = $1::integer AND number = $2::bigint AND place >= $3
ORDER BY place DESC, attempt DESC LIMIT 1000;

-- due --
-- Plans with something to be done up to $2, of one merchant ($1) or all, the next first, at most $3.
SELECT j.due_at, p.*
FROM jobs j JOIN plans p ON p.merchant_id = j.merchant_id AND p.number = j.subject
WHERE j.queue = 'plan' AND ($1::integer IS NULL OR j.merchant_id = $1) AND j.due_at <= $2::timestamptz AND j.due_at < 'infinity'
ORDER BY j.due_at, j.merchant_id, j.subject LIMIT $3;
