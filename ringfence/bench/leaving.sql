-- captured --
-- What the payments of trips captured, what is still held of them, and how many captures that were.
SELECT t.name, p.captured, p.authorized - p.captured - p.voided - p.expired - p.unsecured AS open,
       (SELECT count(*) FROM operations o WHERE o.merchant_id = p.merchant_id AND o.payment_id = p.payment_id AND o.kind = 'capture') AS captures
FROM trips t JOIN payments p USING (merchant_id, payment_id) WHERE t.name = ANY($1);
