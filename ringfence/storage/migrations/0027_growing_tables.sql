-- Tables that only grow, or nearly so, are vacuumed for their inserts once a million rows have come, not whenever a fifth has: a young
-- installation under load would else read, mark and log all of its new pages every minute, at two fifths of the database's processor time.
ALTER TABLE operations  SET (autovacuum_vacuum_insert_threshold = 1000000);
ALTER TABLE outcomes    SET (autovacuum_vacuum_insert_threshold = 1000000);
ALTER TABLE payments    SET (autovacuum_vacuum_insert_threshold = 1000000);
ALTER TABLE transfers   SET (autovacuum_vacuum_insert_threshold = 1000000);
ALTER TABLE events      SET (autovacuum_vacuum_insert_threshold = 1000000);
ALTER TABLE batch_rows  SET (autovacuum_vacuum_insert_threshold = 1000000);
