-- What the catalog says of our tables, one text line each, in an order that does not depend on the server.

-- columns --
-- Every column of every table, with its type, whether it may be null, and its default.
SELECT c.relname AS table_name,
       format('column %s %s%s%s', a.attname, format_type(a.atttypid, a.atttypmod),
              CASE WHEN a.attnotnull THEN ' not null' ELSE '' END,
              coalesce(CASE a.attgenerated WHEN 's' THEN ' generated ' ELSE ' default ' END || pg_get_expr(d.adbin, d.adrelid), '')) AS line
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = current_schema()
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
WHERE c.relkind IN ('r', 'p')
ORDER BY c.relname COLLATE "C", a.attnum;

-- constraints --
-- Every constraint but not-null, which PostgreSQL lists among the constraints only from version 18 on.
SELECT c.relname AS table_name, format('constraint %s %s', k.conname, pg_get_constraintdef(k.oid)) AS line
FROM pg_constraint k
JOIN pg_class c ON c.oid = k.conrelid
JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = current_schema()
WHERE k.contype <> 'n'
ORDER BY c.relname COLLATE "C", k.conname COLLATE "C";

-- indexes --
-- Every index that no constraint made, with the table's and the index's storage options.
SELECT c.relname AS table_name,
       'index ' || replace(pg_get_indexdef(i.indexrelid), current_schema() || '.', '') AS line
FROM pg_index i
JOIN pg_class x ON x.oid = i.indexrelid
JOIN pg_class c ON c.oid = i.indrelid
JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = current_schema()
WHERE NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = i.indexrelid AND k.contype IN ('p', 'u', 'x'))
ORDER BY c.relname COLLATE "C", x.relname COLLATE "C";

-- others --
-- Everything else that may carry a rule: triggers, views, sequences, functions, and tables' storage options.
SELECT c.relname AS table_name, 'trigger ' || pg_get_triggerdef(t.oid) AS line
FROM pg_trigger t
JOIN pg_class c ON c.oid = t.tgrelid
JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = current_schema()
WHERE NOT t.tgisinternal
UNION ALL
SELECT c.relname, 'options ' || array_to_string(c.reloptions, ', ')
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = current_schema()
WHERE c.relkind IN ('r', 'p') AND c.reloptions IS NOT NULL
UNION ALL
SELECT c.relname, CASE c.relkind WHEN 'S' THEN 'sequence' ELSE 'view ' || pg_get_viewdef(c.oid) END
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = current_schema()
WHERE c.relkind IN ('S', 'v', 'm')
UNION ALL
SELECT p.proname, 'function ' || pg_get_functiondef(p.oid)
FROM pg_proc p
JOIN pg_namespace n ON n.oid = p.pronamespace AND n.nspname = current_schema()
WHERE p.prokind IN ('f', 'p')
ORDER BY 1, 2;
