-- Where the user may: schema changes leave a mark. Temporary tables are no change.
CREATE FUNCTION @meta@.ddl() RETURNS event_trigger LANGUAGE plpgsql SECURITY DEFINER AS $f$
BEGIN
  IF TG_EVENT = 'sql_drop' THEN
    IF EXISTS (SELECT FROM pg_event_trigger_dropped_objects() o WHERE NOT o.is_temporary) THEN
      INSERT INTO @meta@.mark VALUES (1);
    END IF;
  ELSIF EXISTS (SELECT FROM pg_event_trigger_ddl_commands() c WHERE c.schema_name IS DISTINCT FROM 'pg_temp') THEN
    INSERT INTO @meta@.mark VALUES (1);
  END IF;
END $f$;
CREATE EVENT TRIGGER zz_dbtest_drop ON sql_drop EXECUTE FUNCTION @meta@.ddl();
CREATE EVENT TRIGGER zz_dbtest_ddl ON ddl_command_end EXECUTE FUNCTION @meta@.ddl();
ALTER EVENT TRIGGER zz_dbtest_drop ENABLE ALWAYS;
ALTER EVENT TRIGGER zz_dbtest_ddl ENABLE ALWAYS;
