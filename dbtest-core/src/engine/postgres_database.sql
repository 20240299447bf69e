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
