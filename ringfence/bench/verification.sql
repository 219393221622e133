-- Questions asked after a benchmark: is every acknowledged payment there exactly once?

-- no_guessing --
-- The tables have just grown and may not be analysed yet: whatever the planner thinks of their size, rows are matched by hashing.
SELECT set_config('enable_nestloop', 'off', false), set_config('work_mem', '128MB', false);

-- make_acknowledged --
-- A place for the list of acknowledged payments, for this session only.
CREATE TEMPORARY TABLE acknowledged (merchant text NOT NULL, reference text NOT NULL, minor bigint NOT NULL, currency text NOT NULL);

-- count_acknowledged --
-- How many were acknowledged, and how many different ones those are.
SELECT count(*) AS lines, count(DISTINCT (merchant, reference)) AS payments FROM acknowledged;

-- not_exactly_once --
-- Acknowledged payments that have no approved purchase, or several, or one of another amount; at most $1 of them.
-- Every approved outcome counts, so that one operation approved in two attempts is a double payment too.
SELECT a.merchant, a.reference, a.minor, a.currency, count(p.reference) AS approved, sum(p.minor) AS approved_minor
FROM (SELECT DISTINCT * FROM acknowledged) a
LEFT JOIN (
    SELECT m.identifier, o.reference, r.minor, o.currency
    FROM operations o
    JOIN merchants m USING (merchant_id)
    JOIN outcomes r USING (merchant_id, payment_id, operation_id)
    WHERE o.door IN ('aps', 'ppro') AND o.kind = 'purchase' AND r.result = 'approved'
) p ON p.identifier = a.merchant AND p.reference = a.reference
GROUP BY a.merchant, a.reference, a.minor, a.currency
HAVING count(p.reference) <> 1 OR sum(p.minor) <> a.minor OR min(p.currency) <> a.currency
ORDER BY a.merchant, a.reference
LIMIT $1;
