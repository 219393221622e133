-- What merchants show about disputes is sealed: each file under a data key of its own, which is sealed under the master key.

ALTER TABLE dispute_files ADD COLUMN wrapped_key bytea NOT NULL DEFAULT '';     -- the sealed data key; empty: not sealed yet, the next start does it
ALTER TABLE dispute_files ADD COLUMN bytes integer NOT NULL DEFAULT 0;          -- of what was shown
UPDATE dispute_files SET bytes = octet_length(content);

-- A change of the master key looks for what stands under the former one.
CREATE INDEX instruments_key ON instruments (substring(sealed FROM 2 FOR 4));
CREATE INDEX dispute_files_key ON dispute_files (substring(wrapped_key FROM 2 FOR 4));
