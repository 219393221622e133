-- schema --
-- All that the site remembers.  Instants are Unix seconds of business time, but for leases and sign-ins (wall time); amounts are minor units.
CREATE TABLE IF NOT EXISTS merchants (
    merchant_id TEXT PRIMARY KEY, name TEXT NOT NULL, store_id TEXT NOT NULL, region TEXT NOT NULL, notify_urls TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS keys (key_id TEXT PRIMARY KEY, merchant_id TEXT NOT NULL, pem TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS sessions (
    id TEXT PRIMARY KEY, merchant_id TEXT NOT NULL, environment TEXT NOT NULL, given TEXT NOT NULL, product TEXT NOT NULL,
    language TEXT NOT NULL, state TEXT NOT NULL, reason TEXT NOT NULL, buyer TEXT NOT NULL, card TEXT NOT NULL, address INTEGER NOT NULL,
    approved INTEGER NOT NULL, permission TEXT NOT NULL, charge TEXT NOT NULL, created INTEGER NOT NULL, updated INTEGER NOT NULL,
    expires INTEGER NOT NULL, due INTEGER
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS permissions (
    id TEXT PRIMARY KEY, merchant_id TEXT NOT NULL, environment TEXT NOT NULL, session TEXT NOT NULL, type TEXT NOT NULL, given TEXT NOT NULL,
    buyer TEXT NOT NULL, card TEXT NOT NULL, address INTEGER NOT NULL, currency TEXT NOT NULL, amount_limit INTEGER NOT NULL,
    state TEXT NOT NULL, reason TEXT NOT NULL, created INTEGER NOT NULL, updated INTEGER NOT NULL, expires INTEGER NOT NULL, due INTEGER
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS permissions_buyer ON permissions (buyer);
CREATE TABLE IF NOT EXISTS charges (
    id TEXT PRIMARY KEY, merchant_id TEXT NOT NULL, environment TEXT NOT NULL, permission TEXT NOT NULL, given TEXT NOT NULL,
    currency TEXT NOT NULL, amount INTEGER NOT NULL, amount_captured INTEGER NOT NULL, state TEXT NOT NULL, reason TEXT NOT NULL,
    ends_as TEXT NOT NULL, created INTEGER NOT NULL, updated INTEGER NOT NULL, expires INTEGER NOT NULL, due INTEGER
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS charges_permission ON charges (permission);
CREATE TABLE IF NOT EXISTS refunds (
    id TEXT PRIMARY KEY, merchant_id TEXT NOT NULL, environment TEXT NOT NULL, charge TEXT NOT NULL, given TEXT NOT NULL,
    currency TEXT NOT NULL, amount INTEGER NOT NULL, state TEXT NOT NULL, reason TEXT NOT NULL, ends_as TEXT NOT NULL,
    created INTEGER NOT NULL, updated INTEGER NOT NULL, due INTEGER
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS refunds_charge ON refunds (charge);
CREATE INDEX IF NOT EXISTS sessions_due ON sessions (due) WHERE due IS NOT NULL;
CREATE INDEX IF NOT EXISTS permissions_due ON permissions (due) WHERE due IS NOT NULL;
CREATE INDEX IF NOT EXISTS charges_due ON charges (due) WHERE due IS NOT NULL;
CREATE INDEX IF NOT EXISTS refunds_due ON refunds (due) WHERE due IS NOT NULL;
CREATE TABLE IF NOT EXISTS answers (
    merchant_id TEXT NOT NULL, key TEXT NOT NULL, digest TEXT NOT NULL, status INTEGER NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY (merchant_id, key)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS notifications (
    n INTEGER PRIMARY KEY, merchant_id TEXT NOT NULL, url TEXT NOT NULL, notification_id TEXT NOT NULL, message_id TEXT NOT NULL,
    message TEXT NOT NULL, created INTEGER NOT NULL, due INTEGER, attempts INTEGER NOT NULL DEFAULT 0, leased_until REAL NOT NULL DEFAULT 0,
    state TEXT NOT NULL DEFAULT 'waiting', said TEXT NOT NULL DEFAULT ''
);
CREATE INDEX IF NOT EXISTS notifications_due ON notifications (due) WHERE due IS NOT NULL;
CREATE TABLE IF NOT EXISTS faults (n INTEGER PRIMARY KEY, operation TEXT NOT NULL, kind TEXT NOT NULL, value TEXT NOT NULL, times INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS sign_ins (digest TEXT PRIMARY KEY, buyer TEXT NOT NULL, until REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS tokens (
    token TEXT PRIMARY KEY, merchant_id TEXT NOT NULL, environment TEXT NOT NULL, buyer TEXT NOT NULL, given TEXT NOT NULL,
    until INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS counters (name TEXT PRIMARY KEY, n INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS secrets (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

-- put_merchant --
-- A merchant as it is from now on.
INSERT OR REPLACE INTO merchants (merchant_id, name, store_id, region, notify_urls) VALUES (?, ?, ?, ?, ?)

-- put_key --
-- A public key of a merchant; the same identifier with another key replaces it.
INSERT OR REPLACE INTO keys (key_id, merchant_id, pem) VALUES (?, ?, ?)

-- key --
-- A public key, with its merchant.
SELECT k.pem, m.merchant_id, m.name, m.store_id, m.region, m.notify_urls
FROM keys k JOIN merchants m ON m.merchant_id = k.merchant_id WHERE k.key_id = ?

-- merchant --
-- A merchant.
SELECT merchant_id, name, store_id, region, notify_urls FROM merchants WHERE merchant_id = ?

-- session --
-- A checkout session.
SELECT * FROM sessions WHERE id = ?

-- put_session --
-- A checkout session as it is from now on.
INSERT OR REPLACE INTO sessions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)

-- forget_session --
-- A session is deleted.
DELETE FROM sessions WHERE id = ?

-- permission --
-- A charge permission.
SELECT * FROM permissions WHERE id = ?

-- put_permission --
-- A charge permission as it is from now on.
INSERT OR REPLACE INTO permissions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)

-- permissions_of --
-- What a buyer agreed to be charged for again and again, and what needs another card; the newest first.
SELECT * FROM permissions WHERE buyer = ? AND (type <> 'OneTime' OR state = 'NonChargeable') ORDER BY created DESC, id DESC

-- charge --
-- A charge.
SELECT * FROM charges WHERE id = ?

-- put_charge --
-- A charge as it is from now on.
INSERT OR REPLACE INTO charges VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)

-- charges_of --
-- The charges on a permission, in their order.
SELECT * FROM charges WHERE permission = ? ORDER BY id

-- refund --
-- A refund.
SELECT * FROM refunds WHERE id = ?

-- put_refund --
-- A refund as it is from now on.
INSERT OR REPLACE INTO refunds VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)

-- refunds_of --
-- The refunds of a charge, in their order.
SELECT * FROM refunds WHERE charge = ? ORDER BY id

-- first_due --
-- What time changes next, up to an instant.
SELECT due, kind, id FROM (
    SELECT due, 1 AS kind, id FROM charges WHERE due <= ?1 UNION ALL SELECT due, 2, id FROM refunds WHERE due <= ?1
    UNION ALL SELECT due, 3, id FROM permissions WHERE due <= ?1 UNION ALL SELECT due, 4, id FROM sessions WHERE due <= ?1
) ORDER BY due, kind, id LIMIT 1

-- instants --
-- When something is due, up to an instant: once for each thing.
SELECT due FROM charges WHERE due <= ?1 UNION ALL SELECT due FROM refunds WHERE due <= ?1 UNION ALL SELECT due FROM permissions WHERE due <= ?1
UNION ALL SELECT due FROM sessions WHERE due <= ?1 UNION ALL SELECT due FROM notifications WHERE due <= ?1 ORDER BY due

-- answered --
-- What was answered under an idempotency key.
SELECT digest, status, body FROM answers WHERE merchant_id = ? AND key = ?

-- keep_answer --
-- Remember an answer.
INSERT INTO answers (merchant_id, key, digest, status, body) VALUES (?, ?, ?, ?, ?)

-- notify --
-- One notification to one address.
INSERT INTO notifications (merchant_id, url, notification_id, message_id, message, created, due) VALUES (?, ?, ?, ?, ?, ?, ?)

-- lose --
-- One notification that nobody will hear of.
INSERT INTO notifications (merchant_id, url, notification_id, message_id, message, created, state, said)
VALUES (?, ?, ?, ?, ?, ?, 'lost', 'lost on demand')

-- claim --
-- Take the next notification that is due, for the length of a lease.
UPDATE notifications SET leased_until = ?3, attempts = attempts + 1 WHERE n = (
    SELECT n FROM notifications WHERE due <= ?1 AND leased_until < ?2 ORDER BY due, n LIMIT 1)
RETURNING n, merchant_id, url, message_id, message, created, attempts

-- delivered --
-- How an attempt ended: when the next one is due (NULL: none), and what was answered.
UPDATE notifications SET due = ?, leased_until = 0, state = ?, said = ? WHERE n = ?

-- log --
-- The last notifications.
SELECT n, merchant_id, url, notification_id, message, created, due, attempts, state, said FROM notifications ORDER BY n DESC LIMIT ?

-- faults --
-- What goes wrong on demand, in the order it was asked for.
SELECT n, operation, kind, value, times FROM faults ORDER BY n

-- add_fault --
-- Something is to go wrong, so many times.
INSERT INTO faults (operation, kind, value, times) VALUES (?, ?, ?, ?)

-- use_fault --
-- It went wrong once.
UPDATE faults SET times = times - 1 WHERE n = ?

-- forget_faults --
-- Drop the ones that happened often enough.
DELETE FROM faults WHERE times <= 0

-- clear_faults --
-- Nothing goes wrong any more.
DELETE FROM faults

-- sign_in --
-- A browser is a buyer's for a while.
INSERT INTO sign_ins (digest, buyer, until) VALUES (?, ?, ?)

-- signed_in --
-- Whose browser it is.
SELECT buyer FROM sign_ins WHERE digest = ? AND until > ?

-- sign_out --
-- ... and is not any more.
DELETE FROM sign_ins WHERE digest = ? OR until <= ?

-- put_token --
-- A buyer lets a merchant see who they are.
INSERT INTO tokens (token, merchant_id, environment, buyer, given, until) VALUES (?, ?, ?, ?, ?, ?)

-- token --
-- Who that is.
SELECT merchant_id, environment, buyer, given, until FROM tokens WHERE token = ?

-- count --
-- Count one more under a name; the count including this one.
INSERT INTO counters (name, n) VALUES (?, 1) ON CONFLICT (name) DO UPDATE SET n = n + 1 RETURNING n

-- keep_secret --
-- A secret, unless another process kept one first.
INSERT INTO secrets (name, value) VALUES (?, ?) ON CONFLICT DO NOTHING

-- secret --
-- A secret.
SELECT value FROM secrets WHERE name = ?

-- all_permissions --
-- Every permission, for judges.
SELECT * FROM permissions ORDER BY id
