-- schema --
-- Everything the simulated issuer must remember to answer the next message, and the book of what it did with it.
CREATE TABLE IF NOT EXISTS book (n INTEGER PRIMARY KEY, key TEXT NOT NULL, account TEXT NOT NULL, line BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS book_key ON book (key);
CREATE INDEX IF NOT EXISTS book_dropped ON book (n) WHERE instr(line, CAST('"effect":"dropped"' AS BLOB)) > 0;
CREATE TABLE IF NOT EXISTS accounts (
    account TEXT NOT NULL, currency TEXT NOT NULL, card TEXT NOT NULL, scenario TEXT NOT NULL,
    balance INTEGER, posted INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (account, currency)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS holds (
    account TEXT NOT NULL, payment INTEGER NOT NULL, currency TEXT NOT NULL, merchant TEXT NOT NULL, operation INTEGER NOT NULL,
    key TEXT NOT NULL, minor INTEGER NOT NULL, drops_at INTEGER, PRIMARY KEY (account, payment)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS counters (name TEXT PRIMARY KEY, n INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS tombstones (n INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, until INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS overrides (account TEXT PRIMARY KEY, card TEXT NOT NULL, scenario TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS cases (
    name TEXT PRIMARY KEY, operation INTEGER NOT NULL, payment INTEGER NOT NULL, merchant TEXT NOT NULL, currency TEXT NOT NULL,
    minor INTEGER NOT NULL, scenario TEXT NOT NULL, stage TEXT NOT NULL, next_at INTEGER, told INTEGER NOT NULL, round INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS cases_next ON cases (next_at) WHERE next_at IS NOT NULL;
CREATE TABLE IF NOT EXISTS words (
    n INTEGER PRIMARY KEY, at INTEGER NOT NULL, name TEXT NOT NULL, said TEXT NOT NULL, number INTEGER NOT NULL, minor INTEGER NOT NULL,
    phase TEXT NOT NULL, due_at INTEGER, note TEXT NOT NULL, taken INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS words_waiting ON words (at) WHERE taken = 0;

-- write --
-- One line of the book.
INSERT INTO book (key, account, line) VALUES (?, ?, ?)

-- entries --
-- The lines of a key, in order.
SELECT line FROM book WHERE key = ? ORDER BY n

-- book --
-- The whole half of the book that stands here.
SELECT line FROM book ORDER BY n

-- account_of --
-- The account that an earlier message of this key touched.
SELECT account FROM book WHERE key = ? AND account <> '' LIMIT 1

-- open_account --
-- An account with its first balance, unless it is there already.
INSERT INTO accounts (account, currency, card, scenario, balance) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING

-- available --
-- Balance less what was posted and what is held; NULL where the account has no limit.
SELECT a.balance - a.posted - coalesce(
    (SELECT sum(h.minor) FROM holds h WHERE h.account = a.account AND h.currency = a.currency), 0)
FROM accounts a WHERE a.account = ? AND a.currency = ?

-- hold --
-- Add to the hold of a payment; it drops at the instant its first message gave it.
INSERT INTO holds (account, payment, currency, merchant, operation, key, minor, drops_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (account, payment) DO UPDATE SET minor = minor + excluded.minor

-- release --
-- Take from the hold of a payment, never below nothing.
UPDATE holds SET minor = max(0, minor - ?) WHERE account = ? AND payment = ?

-- release_all --
-- Nothing of a payment is held any more.
UPDATE holds SET minor = 0 WHERE account = ? AND payment = ?

-- post --
-- Money leaves the account (or comes back, negative).
UPDATE accounts SET posted = posted + ? WHERE account = ? AND currency = ?

-- due --
-- Holds that the issuer drops by this instant (Unix seconds).
SELECT account, payment, currency, merchant, operation, key, minor FROM holds WHERE drops_at <= ? ORDER BY drops_at, payment

-- drops --
-- When the issuer will drop holds, up to an instant (Unix seconds).
SELECT drops_at FROM holds WHERE drops_at <= ? AND minor > 0 ORDER BY drops_at

-- told --
-- The lines of dropped holds behind number n.
SELECT n, line FROM book WHERE instr(line, CAST('"effect":"dropped"' AS BLOB)) > 0 AND n > ? ORDER BY n

-- dropped --
-- A hold is gone.
DELETE FROM holds WHERE account = ? AND payment = ?

-- count --
-- Count one more under a name; the count including this one.
INSERT INTO counters (name, n) VALUES (?, 1) ON CONFLICT (name) DO UPDATE SET n = n + 1 RETURNING n

-- bury --
-- Remember a reversal whose original was never seen.
INSERT INTO tombstones (key, until) VALUES (?, ?) ON CONFLICT DO NOTHING

-- tombstones --
-- Tombstones younger than number n.
SELECT n, key, until FROM tombstones WHERE n > ? ORDER BY n

-- is_buried --
-- Whether a reversal came before its original.
SELECT 1 FROM tombstones WHERE key = ? AND until > ?

-- overrides --
-- Accounts whose behaviour was set from outside.
SELECT account, scenario FROM overrides

-- settings --
-- What was set from outside for all accounts.
SELECT name, value FROM settings

-- list_accounts --
-- Every account that holds state, with what it holds.
SELECT a.account, a.card, a.currency, a.scenario, a.balance, a.posted,
    coalesce((SELECT sum(h.minor) FROM holds h WHERE h.account = a.account AND h.currency = a.currency), 0) AS held
FROM accounts a ORDER BY a.card, a.account, a.currency

-- set_balance --
-- The balance of an account from now on, before what is posted and held.
UPDATE accounts SET balance = ? + posted WHERE account = ? AND currency = ?

-- set_override --
-- The behaviour of an account from now on.
INSERT INTO overrides (account, card, scenario) VALUES (?, ?, ?) ON CONFLICT (account) DO UPDATE SET scenario = excluded.scenario

-- drop_override --
-- Back to what the number says.
DELETE FROM overrides WHERE account = ?

-- set --
-- One setting.
INSERT INTO settings (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value

-- clear_accounts --
-- Forget every balance.
DELETE FROM accounts

-- clear_holds --
-- Forget every hold.
DELETE FROM holds

-- clear_counters --
-- Forget every count.
DELETE FROM counters

-- clear_tombstones --
-- Forget every early reversal.
DELETE FROM tombstones

-- clear_overrides --
-- Every card behaves as its number says.
DELETE FROM overrides

-- clear_settings --
-- Forget what was set for all accounts.
DELETE FROM settings

-- plan_case --
-- A case that will come of what was captured or refunded, once.
INSERT INTO cases (name, operation, payment, merchant, currency, minor, scenario, stage, next_at, told, round)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING

-- forget_case --
-- What was taken back before the issuer said anything comes to nothing.
DELETE FROM cases WHERE name = ? AND stage = 'planned'

-- case --
-- One case.
SELECT name, operation, payment, merchant, currency, minor, scenario, stage, next_at, told, round FROM cases WHERE name = ?

-- cases_due --
-- Cases with which the issuer goes on by this instant (Unix seconds), the next first.
SELECT name, operation, payment, merchant, currency, minor, scenario, stage, next_at, told, round FROM cases
WHERE next_at <= ? ORDER BY next_at, name

-- save_case --
-- Where a case stands.
UPDATE cases SET minor = ?, stage = ?, next_at = ?, told = ?, round = ? WHERE name = ?

-- say --
-- What the issuer tells of a case from an instant on.
INSERT INTO words (at, name, said, number, minor, phase, due_at, note) VALUES (?, ?, ?, ?, ?, ?, ?, ?)

-- words --
-- What is told by this instant and was not taken, in order.
SELECT w.n, w.at, c.name, c.operation, c.payment, c.merchant, c.currency, c.scenario, w.said, w.number, w.minor, w.phase, w.due_at, w.note
FROM words w JOIN cases c USING (name) WHERE w.taken = 0 AND w.at <= ? ORDER BY w.n

-- take --
-- It was taken.
UPDATE words SET taken = 1 WHERE n = ?

-- acts --
-- When the issuer goes on with cases, or has told what was not taken, up to an instant.
SELECT next_at FROM cases WHERE next_at <= ?1 UNION ALL SELECT at FROM words WHERE taken = 0 AND at <= ?1 ORDER BY 1

-- clear_cases --
-- Forget every case.
DELETE FROM cases

-- clear_words --
-- Forget what was to be told.
DELETE FROM words
