-- carried_out --
-- Operations that came as rows, the orders they began, those that ended exactly once, those of which an end was told, and those approved.
SELECT count(*) AS operations, count(DISTINCT o.reference) AS orders,
       count(*) FILTER (WHERE x.ends = 1) AS ends, count(*) FILTER (WHERE e.told >= 1) AS told, count(*) FILTER (WHERE x.approved = 1) AS approved
FROM operations o
CROSS JOIN LATERAL (
    SELECT count(*) FILTER (WHERE y.result IN ('approved', 'declined', 'reversed', 'not_asked')) AS ends,
           count(*) FILTER (WHERE y.result = 'approved') AS approved
    FROM outcomes y WHERE y.merchant_id = o.merchant_id AND y.payment_id = o.payment_id AND y.operation_id = o.operation_id) x
CROSS JOIN LATERAL (
    SELECT count(*) AS told FROM events v WHERE v.merchant_id = o.merchant_id AND v.payment_id = o.payment_id) e
WHERE o.source = 'batch';
