-- instants --
-- When the first hold expires, and the last.
SELECT min(expires_at), max(expires_at) FROM payments;

-- expired --
-- Minor units of holds that expired, from the ledger's balances: one row for each account and lane, so that looking costs nothing.
SELECT coalesce(sum(balance), 0) FROM balances WHERE account = 'hold.expired';

-- voids --
-- Voids of expired holds: operations, the payments they are of, and those that were approved.
SELECT count(*) AS operations, count(DISTINCT o.payment_id) AS payments,
       count(*) FILTER (WHERE EXISTS (
           SELECT FROM outcomes x
           WHERE x.merchant_id = o.merchant_id AND x.payment_id = o.payment_id AND x.operation_id = o.operation_id
             AND x.result = 'approved')) AS approvals
FROM operations o
WHERE o.reason = 'expired';
