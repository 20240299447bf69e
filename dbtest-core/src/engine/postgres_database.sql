-- What a slot that is a database of its own needs besides: the guard of the sandbox.

-- A sandbox puts one row here. Its trigger is deferred to COMMIT and refuses it.
CREATE TABLE @meta@.guard (x int);
CREATE FUNCTION @meta@.refuse() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $f$
BEGIN
  IF current_setting('dbtest.commit', true) = 'on' THEN
    RETURN NULL;
  END IF;
  IF current_query() ~* '^\s*set\s+constraints' THEN
    -- The application checks its own constraints early: stand guard again.
    SET CONSTRAINTS @meta@.guard DEFERRED;
    INSERT INTO @meta@.guard VALUES (1);
    RETURN NULL;
  END IF;
  RAISE EXCEPTION 'dbtest refuses COMMIT: this test runs in a transaction that is rolled back (strategy "rollback")'
    USING ERRCODE = 'P0DBT', HINT = 'use the ORM''s own transactions, which become savepoints, or the strategy "truncate"';
END $f$;
CREATE CONSTRAINT TRIGGER guard AFTER INSERT ON @meta@.guard
  DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION @meta@.refuse();

-- Runs last in a sandbox's transaction: all of that is rolled back, but for sequences. Only this session
-- was at work, and in a transaction the server counts for it which of them it has read. That of an own
-- change, and then what setval finds, is rolled back with it. Whatever is unclear is an error: then all
-- sequences are looked at.
CREATE FUNCTION @meta@.put_back() RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $f$
BEGIN
  IF current_setting('track_counts') <> 'on' THEN
    RAISE EXCEPTION 'the server counts nothing';
  END IF;
  -- Who could hide DDL from the sandbox could hide a deferred constraint from it, too.
  IF EXISTS (SELECT FROM @meta@.mark m WHERE m.relid = 1) THEN
    PERFORM set_config('dbtest.commit', 'on', true);
    SET CONSTRAINTS ALL IMMEDIATE;
  END IF;
  IF EXISTS (
    SELECT FROM @meta@.seq s WHERE pg_stat_get_xact_blocks_fetched(s.oid) > 0
      AND CASE WHEN (SELECT age(c.xmin) > 0 FROM pg_class c WHERE c.oid = s.oid)
        THEN setval(s.oid::regclass, s.value, s.called) IS NULL ELSE true END) THEN
    RAISE EXCEPTION 'a sequence was changed or dropped';
  END IF;
  -- The rows that are rolled back keep their room until somebody vacuums.
  IF EXISTS (SELECT FROM @meta@.tab b WHERE b.oid IN (
      SELECT g.target FROM @meta@.target g WHERE g.relid IN (SELECT m.relid FROM @meta@.mark m)) AND @meta@.grew(b)) THEN
    PERFORM nextval('@meta@.lost');
  END IF;
END $f$;

-- Whether a sandbox that is over left the slot as it was: 'no' if not, or if that is not known. Else
-- what must be the same as after the last one: a session that came and went may have moved a sequence,
-- which only the count of all sessions tells. Each statement sees what was committed before it.
CREATE FUNCTION @meta@.untouched() RETURNS text LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $f$
DECLARE
  here CONSTANT oid := (SELECT d.oid FROM pg_database d WHERE d.datname = current_database());
BEGIN
  -- The sandbox's own connection, and that of the lease. Before Postgres 15 the counts come late.
  IF pg_stat_get_db_numbackends(here) <> 2 OR current_setting('server_version_num')::int < 150000
    OR pg_relation_size('@meta@.mark') > 16384 OR pg_relation_size('@meta@.guard') > 16384
    OR (SELECT l.is_called FROM @meta@.lost l) THEN
    RETURN 'no';
  END IF;
  IF (SELECT count(*) = 1 AND min(m.relid) = 0 FROM @meta@.mark m)
    AND NOT EXISTS (SELECT FROM @meta@.state t WHERE t.settings IS DISTINCT FROM @meta@.settings()
      OR (t.digest IS NOT NULL AND t.digest <> @meta@.digest()))
    AND NOT EXISTS (SELECT FROM pg_largeobject_metadata l
      WHERE @lobs@ AND NOT EXISTS (SELECT FROM @meta@.lob b WHERE b.oid = l.oid)) THEN
    RETURN pg_stat_get_db_sessions(here) || ' since ' || coalesce(pg_stat_get_db_stat_reset_time(here)::text, 'ever');
  END IF;
  RETURN 'no';
END $f$;
