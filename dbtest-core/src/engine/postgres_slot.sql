-- What a slot needs so that it can be put back to its baseline. Runs once, when the slot is made.
-- @meta@ is the schema of our own; @mine@ is the condition on pg_namespace n for the schemas that
-- belong to the slot; @others@ the condition on pg_stat_get_activity a for the connections that do.

CREATE SCHEMA @meta@;

-- Dirty marks: every statement that writes appends its table. No key, so that concurrent
-- transactions never wait on each other; unlogged, since 0 is always in it: if the server crashes
-- the table is emptied, and the slot is made anew.
CREATE UNLOGGED TABLE @meta@.mark (relid oid NOT NULL);
INSERT INTO @meta@.mark VALUES (0);

CREATE FUNCTION @meta@.mark() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $f$
BEGIN
  INSERT INTO @meta@.mark VALUES (TG_RELID);
  RETURN NULL;
END $f$;

-- Tables that hold rows, with the statements that put each back. quick empties one that grew, if
-- nothing forbids it; size is what it takes at its baseline, together with its long values.
CREATE TABLE @meta@.tab (
  oid oid PRIMARY KEY, clear text NOT NULL, restore text, quick text, toast oid NOT NULL, size bigint NOT NULL,
  hard boolean NOT NULL, ord int NOT NULL DEFAULT 0);
-- A write through relid may have changed target: partitions and inheritance children.
CREATE TABLE @meta@.target (relid oid NOT NULL, target oid NOT NULL);
CREATE INDEX ON @meta@.target (relid);
-- Where foreign keys can't be switched off: resetting tab needs affected reset too.
CREATE TABLE @meta@.closure (tab oid NOT NULL, affected oid NOT NULL);
-- read is how often the server had read it at its baseline; there is room for that to change.
CREATE TABLE @meta@.seq (
  oid oid PRIMARY KEY, value bigint NOT NULL, called boolean NOT NULL, read bigint) WITH (fillfactor = 40);
CREATE TABLE @meta@.lob (oid oid PRIMARY KEY);
CREATE TABLE @meta@.state (settings text, digest text, counted text);
-- Whether a table lost much room to what was rolled back. Of all that a transaction does, only what it
-- does to a sequence outlives it.
CREATE SEQUENCE @meta@.lost;

-- Whether a table takes much more room than at its baseline.
CREATE FUNCTION @meta@.grew(b @meta@.tab) RETURNS boolean LANGUAGE sql STABLE AS $f$
  SELECT pg_relation_size(b.oid) + coalesce(pg_relation_size(nullif(b.toast, 0)), 0) - b.size > 131072 + b.size / 2
$f$;

-- Not in SQL, which would be planned anew in each reset.
CREATE FUNCTION @meta@.settings() RETURNS text LANGUAGE plpgsql STABLE AS $f$
BEGIN
  RETURN (SELECT string_agg(s.setrole::text || s.setconfig::text, ',' ORDER BY s.setrole)
    FROM pg_catalog.pg_db_role_setting s
    WHERE s.setdatabase = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = current_database()));
END $f$;

-- The catalogue's rows by their last writer. Only used where there is no event trigger.
CREATE FUNCTION @meta@.digest() RETURNS text LANGUAGE sql STABLE AS $f$
  SELECT string_agg(part, ',') FROM (
    WITH rel AS (SELECT c.oid, c.reltype, c.xmin FROM pg_catalog.pg_class c
                 JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE @mine@)
    SELECT count(*) || ':' || coalesce(sum(hashtext(xmin::text)), 0) AS part FROM rel
    UNION ALL SELECT count(*) || ':' || coalesce(sum(hashtext(a.xmin::text)), 0)
      FROM pg_catalog.pg_attribute a JOIN rel ON rel.oid = a.attrelid
    UNION ALL SELECT count(*) || ':' || coalesce(sum(hashtext(d.xmin::text)), 0)
      FROM pg_catalog.pg_attrdef d JOIN rel ON rel.oid = d.adrelid
    UNION ALL SELECT count(*) || ':' || coalesce(sum(hashtext(t.xmin::text)), 0)
      FROM pg_catalog.pg_trigger t JOIN rel ON rel.oid = t.tgrelid
    UNION ALL SELECT count(*) || ':' || coalesce(sum(hashtext(r.xmin::text)), 0)
      FROM pg_catalog.pg_rewrite r JOIN rel ON rel.oid = r.ev_class
    UNION ALL SELECT count(*) || ':' || coalesce(sum(hashtext(p.xmin::text)), 0)
      FROM pg_catalog.pg_policy p JOIN rel ON rel.oid = p.polrelid
    UNION ALL SELECT count(*) || ':' || coalesce(sum(hashtext(c.xmin::text)), 0)
      FROM pg_catalog.pg_constraint c JOIN pg_catalog.pg_namespace n ON n.oid = c.connamespace WHERE @mine@
    UNION ALL SELECT count(*) || ':' || coalesce(sum(hashtext(p.xmin::text)), 0)
      FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace WHERE @mine@
    UNION ALL SELECT count(*) || ':' || coalesce(sum(hashtext(t.xmin::text)), 0)
      FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace WHERE @mine@
    UNION ALL SELECT count(*) || ':' || coalesce(sum(hashtext(e.xmin::text)), 0)
      FROM pg_catalog.pg_enum e JOIN pg_catalog.pg_type t ON t.oid = e.enumtypid
      JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace WHERE @mine@
    UNION ALL SELECT count(*) || ':' || coalesce(sum(hashtext(n.xmin::text)), 0)
      FROM pg_catalog.pg_namespace n WHERE @mine@
  ) parts
$f$;

DO $do$
DECLARE
  t record;
  columns text;
  filled boolean;
  remaining oid[];
  free oid[];
  level int := 0;
BEGIN
  FOR t IN
    SELECT c.oid, c.relkind, c.reltoastrelid AS toast, format('%I.%I', n.nspname, c.relname) AS name
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE @mine@ AND c.relkind IN ('r', 'p') AND c.relpersistence <> 't'
  LOOP
    INSERT INTO @meta@.target
      WITH RECURSIVE below(oid) AS (
        SELECT t.oid UNION SELECT i.inhrelid FROM pg_catalog.pg_inherits i JOIN below b ON b.oid = i.inhparent)
      SELECT t.oid, b.oid FROM below b JOIN pg_catalog.pg_class c ON c.oid = b.oid WHERE c.relkind = 'r';
    IF t.relkind = 'r' THEN
      SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum) INTO columns
        FROM pg_catalog.pg_attribute a
        WHERE a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '';
      EXECUTE format('SELECT EXISTS (SELECT FROM ONLY %s)', t.name) INTO filled;
      IF filled AND columns IS NOT NULL THEN
        EXECUTE format('CREATE TABLE @meta@.%I AS SELECT %s FROM ONLY %s', 'base_' || t.oid, columns, t.name);
      END IF;
      INSERT INTO @meta@.tab (oid, clear, restore, quick, toast, size, hard) VALUES (
        t.oid,
        format('DELETE FROM ONLY %s', t.name),
        CASE WHEN filled AND columns IS NOT NULL THEN
          format('INSERT INTO %s (%s) OVERRIDING SYSTEM VALUE SELECT %s FROM @meta@.%I', t.name, columns, columns, 'base_' || t.oid) END,
        CASE WHEN NOT filled AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint k
            WHERE k.contype = 'f' AND k.confrelid = t.oid AND k.conrelid <> t.oid) THEN
          format('TRUNCATE ONLY %s', t.name) END,
        t.toast, pg_relation_size(t.oid) + coalesce(pg_relation_size(nullif(t.toast, 0)), 0),
        -- Triggers and rules of the user's own would fire during the reset.
        EXISTS (SELECT FROM pg_catalog.pg_trigger g WHERE g.tgrelid = t.oid AND NOT g.tgisinternal)
          OR EXISTS (SELECT FROM pg_catalog.pg_rewrite r WHERE r.ev_class = t.oid));
    END IF;
  END LOOP;

  -- Behind the loop, so that our own triggers are not taken for the user's.
  FOR t IN
    SELECT c.oid, format('%I.%I', n.nspname, c.relname) AS name
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE @mine@ AND c.relkind IN ('r', 'p') AND c.relpersistence <> 't'
  LOOP
    EXECUTE format('CREATE TRIGGER zz_dbtest_mark AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON %s '
                   'FOR EACH STATEMENT EXECUTE FUNCTION @meta@.mark()', t.name);
    EXECUTE format('ALTER TABLE ONLY %s ENABLE ALWAYS TRIGGER zz_dbtest_mark', t.name);
  END LOOP;

  -- Children before parents; what is left when nothing is free is a cycle.
  SELECT array_agg(oid) INTO remaining FROM @meta@.tab;
  WHILE remaining IS NOT NULL AND cardinality(remaining) > 0 LOOP
    level := level + 1;
    SELECT array_agg(r) INTO free FROM unnest(remaining) r WHERE NOT EXISTS (
      SELECT FROM pg_catalog.pg_constraint k
      WHERE k.contype = 'f' AND k.confrelid = r AND k.conrelid <> r AND k.conrelid = ANY (remaining));
    IF free IS NULL THEN
      UPDATE @meta@.tab SET hard = true, ord = level WHERE oid = ANY (remaining);
      EXIT;
    END IF;
    UPDATE @meta@.tab SET ord = level WHERE oid = ANY (free);
    remaining := ARRAY(SELECT r FROM unnest(remaining) r WHERE r <> ALL (free));
  END LOOP;
  INSERT INTO @meta@.closure
    WITH RECURSIVE up(tab, affected) AS (
      SELECT oid, oid FROM @meta@.tab
      UNION SELECT up.tab, k.conrelid FROM up
        JOIN pg_catalog.pg_constraint k ON k.contype = 'f' AND k.confrelid = up.affected)
    SELECT up.tab, up.affected FROM up WHERE up.affected IN (SELECT oid FROM @meta@.tab);

  FOR t IN
    SELECT c.oid, format('%I.%I', n.nspname, c.relname) AS name
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE @mine@ AND c.relkind = 'S' AND c.relpersistence <> 't'
  LOOP
    EXECUTE format('INSERT INTO @meta@.seq SELECT %s, last_value, is_called FROM %s', t.oid, t.name);
  END LOOP;
  INSERT INTO @meta@.lob SELECT oid FROM pg_catalog.pg_largeobject_metadata WHERE @lobs@;
END $do$;
-- Or each reset would read all of what it needs a few rows of.
ANALYZE @meta@.tab, @meta@.target, @meta@.closure, @meta@.seq;

-- Ends every other connection, then puts everything back. One round trip: it waits itself until they
-- are gone. Returns 'busy' if one is still there after a while, 'clean' when all is at its baseline,
-- else why it can't be. On lines behind 'clean' it says what to VACUUM, since much room is lost to
-- deleted rows: only a statement of its own gives that back. The connection with the spared process
-- is our own, has nothing open, and stays.
CREATE FUNCTION @meta@.settle(spared int) RETURNS text LANGUAGE plpgsql AS $f$
DECLARE
  -- Deleting a row costs a thousandth of what emptying a table at once does, and on a server that
  -- waits for its disk much less. More is room that a test must have filled itself.
  much CONSTANT bigint := CASE current_setting('fsync') WHEN 'on' THEN 2097152 ELSE 262144 END;
  soon CONSTANT int := 5;
  here CONSTANT oid := (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = current_database());
  marks oid[];
  dirty oid[];
  one oid;
  t record;
  size bigint;
  lost text := '';
  polls int := 0;
  replica boolean := current_setting('session_replication_role') = 'replica';
  -- Only a slot that is a database has one.
  guard CONSTANT regclass := to_regclass('@meta@.guard');
BEGIN
  -- The list of all connections with all that is known of each costs more, and is rarely needed.
  WHILE EXISTS (SELECT FROM pg_stat_get_backend_idset() b WHERE pg_stat_get_backend_dbid(b) = here
      AND pg_stat_get_backend_pid(b) NOT IN (pg_backend_pid(), spared)) LOOP
    -- One that ends takes a part of a millisecond, which is the least that can be slept.
    IF polls = 0 OR polls > soon THEN
      EXIT WHEN (SELECT count(pg_terminate_backend(a.pid)) FROM pg_stat_get_activity(NULL) a
          WHERE a.pid NOT IN (pg_backend_pid(), spared) AND @others@) = 0;
    END IF;
    IF polls = 500 THEN
      RETURN 'busy';
    END IF;
    polls := polls + 1;
    IF polls > soon THEN
      PERFORM pg_sleep(0.001);
    END IF;
    -- Who is connected is looked up once in a transaction.
    PERFORM pg_stat_clear_snapshot();
  END LOOP;
  SELECT array_agg(DISTINCT relid) INTO marks FROM @meta@.mark;
  IF marks IS NULL OR 0::oid <> ALL (marks) THEN
    RETURN 'the server was restarted after a crash';
  END IF;
  IF 1::oid = ANY (marks) THEN
    RETURN 'the test changed the schema';
  END IF;
  FOR t IN SELECT * FROM @meta@.state LOOP
    IF t.settings IS DISTINCT FROM @meta@.settings() THEN
      RETURN 'the test changed the settings of the database';
    END IF;
    IF t.digest IS NOT NULL AND t.digest <> @meta@.digest() THEN
      RETURN 'the test changed the schema';
    END IF;
  END LOOP;
  IF cardinality(marks) > 1 THEN
    IF replica THEN
      dirty := ARRAY(SELECT DISTINCT g.target FROM @meta@.target g WHERE g.relid = ANY (marks));
    ELSE
      -- Foreign keys and triggers can't be switched off without the right to: children first.
      IF EXISTS (SELECT FROM @meta@.tab b WHERE b.hard AND b.oid IN (
          SELECT c.affected FROM @meta@.closure c JOIN @meta@.target g ON g.target = c.tab WHERE g.relid = ANY (marks))) THEN
        RETURN 'this database user may not switch off the triggers of a table that the test wrote to';
      END IF;
      dirty := ARRAY(SELECT b.oid FROM @meta@.tab b WHERE b.oid IN (
          SELECT c.affected FROM @meta@.closure c JOIN @meta@.target g ON g.target = c.tab WHERE g.relid = ANY (marks))
          ORDER BY b.ord);
    END IF;
    FOREACH one IN ARRAY dirty LOOP
      SELECT b.clear, b.restore, b.quick, b.toast, b.size, @meta@.grew(b) AS grew INTO t
        FROM @meta@.tab b WHERE b.oid = one;
      size := pg_relation_size(one) - t.size;
      IF t.toast <> 0 THEN
        size := size + pg_relation_size(t.toast);
      END IF;
      IF replica AND size > much AND t.quick IS NOT NULL THEN
        EXECUTE t.quick;
        CONTINUE;
      END IF;
      EXECUTE t.clear;
      IF replica AND t.restore IS NOT NULL THEN
        EXECUTE t.restore;
      END IF;
      IF t.grew THEN
        -- Rows that were put back stand behind the room that is lost, which keeps it from being cut off.
        lost := lost || E'\n' || CASE WHEN replica AND t.restore IS NOT NULL THEN 'FULL ' ELSE '' END || one::regclass;
      END IF;
    END LOOP;
    IF NOT replica THEN
      FOR t IN SELECT b.restore FROM @meta@.tab b WHERE b.restore IS NOT NULL AND b.oid = ANY (dirty)
          ORDER BY b.ord DESC LOOP
        EXECUTE t.restore;
      END LOOP;
    END IF;
    DELETE FROM @meta@.mark WHERE relid <> 0;
  END IF;
  -- What was rolled back takes room too, and marks nothing: in the marks, which every look at them reads,
  -- in the guard, and in tables, at which a sandbox looks when it ends.
  IF pg_relation_size('@meta@.mark') > 16384 OR pg_relation_size(guard) > 16384
    OR (SELECT l.is_called FROM @meta@.lost l) THEN
    lost := lost || E'\n@meta@.mark' || coalesce(E'\n' || guard, '');
    FOR t IN SELECT b.oid, b.restore FROM @meta@.tab b
        WHERE b.oid <> ALL (coalesce(dirty, '{}')) AND @meta@.grew(b) LOOP
      lost := lost || E'\n' || CASE WHEN replica AND t.restore IS NOT NULL THEN 'FULL ' ELSE '' END || t.oid::regclass;
    END LOOP;
    PERFORM setval('@meta@.lost', 1, false);
  END IF;
  -- Sequences move without a mark, also in what was rolled back. None moves without being read, and the
  -- server counts that: sessions that are gone have told it, and ours is asked as well.
  IF current_setting('server_version_num')::int >= 150000 AND current_setting('track_counts') = 'on' THEN
    PERFORM set_config('stats_fetch_consistency', 'none', false);
    IF EXISTS (SELECT FROM @meta@.state k WHERE k.counted IS DISTINCT FROM
        coalesce(pg_stat_get_db_stat_reset_time(here)::text, 'ever since')) THEN
      UPDATE @meta@.seq SET read = NULL;
      UPDATE @meta@.state SET counted = coalesce(pg_stat_get_db_stat_reset_time(here)::text, 'ever since');
    END IF;
    UPDATE @meta@.seq s SET read = CASE WHEN setval(s.oid::regclass, s.value, s.called) IS NOT NULL
        THEN pg_stat_get_blocks_fetched(s.oid) + pg_stat_get_xact_blocks_fetched(s.oid) END
      WHERE s.read IS DISTINCT FROM pg_stat_get_blocks_fetched(s.oid) + pg_stat_get_xact_blocks_fetched(s.oid);
  ELSE
    -- Of one that was not called nothing cheaper tells that it was set.
    PERFORM setval(s.oid::regclass, s.value, s.called) FROM @meta@.seq s
      WHERE NOT s.called OR pg_sequence_last_value(s.oid::regclass) IS DISTINCT FROM s.value;
  END IF;
  PERFORM lo_unlink(l.oid) FROM pg_catalog.pg_largeobject_metadata l
    WHERE @lobs@ AND NOT EXISTS (SELECT FROM @meta@.lob b WHERE b.oid = l.oid);
  RETURN 'clean' || lost;
END $f$;
