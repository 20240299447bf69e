//! Schemas at random, of all that makes a reset hard.

use std::fmt::Write;

use dbtest_sqlx::Engine;

use super::rng::Rng;

/// A schema and what to know of it to write into it.
pub(super) struct Schema {
    pub(super) engine: Engine,
    pub(super) tables: Vec<Table>,
    pub(super) sql: String,
    /// Queries of one column of text: together they are all that is to be compared.
    pub(super) looks: Vec<String>,
}

pub(super) struct Table {
    /// As it stands in a statement.
    pub(super) name: String,
    pub(super) key: Key,
    form: Form,
    /// Tables whose `id` the columns `r0`, `r1`, … refer to.
    pub(super) refers: Vec<usize>,
}

impl Table {
    /// Whether a foreign key may refer to its numbers.
    fn is_numbered(&self, engine: Engine) -> bool {
        // No foreign key leads to a table of MyISAM, nor from a logged table to one that is not.
        let may = engine == Engine::Sqlite || self.form == Form::Plain;
        matches!(self.key, Key::Given | Key::Always) && may
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    None,
    /// A number that the server gives, if the statement does not.
    Given,
    /// The same, on Postgres GENERATED ALWAYS.
    Always,
    Text,
    Composite,
}

/// How a table is stored, apart from its columns.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Plain,
    /// By the number `n`.
    Partitioned,
    /// UNLOGGED, MyISAM, WITHOUT ROWID.
    Odd,
    /// Of the table before it (Postgres).
    Heir,
}

pub(super) fn quoted(engine: Engine, name: &str) -> String {
    match engine {
        Engine::MySql => format!("`{name}`"),
        _ => format!("\"{name}\""),
    }
}

impl Schema {
    pub(super) fn random(engine: Engine, rng: &mut Rng) -> Self {
        let mut schema = Self { engine, tables: Vec::new(), sql: String::new(), looks: Vec::new() };
        let second = engine == Engine::Postgres && rng.chance(40);
        if second {
            schema.sql.push_str("CREATE SCHEMA \"Second One\";\n");
        }
        let count = 3 + rng.below(8);
        let mut later = String::new();
        for number in 0..count {
            schema.table(rng, number, second, &mut later);
        }
        schema.sql.push_str(&later);
        schema.seeds(rng);
        schema.extras(rng);
        schema
    }

    fn table(&mut self, rng: &mut Rng, number: usize, second: bool, later: &mut String) {
        let engine = self.engine;
        let raw = match rng.below(4) {
            0 => format!("Mixed Case {number}"),
            1 => format!("{}{number}", "a_very_long_name_".repeat(3)),
            _ => format!("t{number}"),
        };
        let mut name = quoted(engine, &raw);
        if second && rng.chance(30) {
            name = format!("\"Second One\".{name}");
        }
        let form = self.form(rng);
        let key =
            match [Key::None, Key::Given, Key::Given, Key::Always, Key::Text, Key::Composite][rng.below(6)] {
                _ if matches!(form, Form::Partitioned | Form::Heir) => Key::None,
                // What has no row numbers needs a key.
                Key::None | Key::Given | Key::Always if engine == Engine::Sqlite && form == Form::Odd => {
                    Key::Text
                }
                key => key,
            };
        let id = match (key, engine) {
            (Key::None, _) => "id integer",
            (Key::Given, Engine::Postgres) => "id serial PRIMARY KEY",
            (Key::Always, Engine::Postgres) => "id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
            (Key::Given | Key::Always, Engine::MySql) => "id integer AUTO_INCREMENT PRIMARY KEY",
            (Key::Given, Engine::Sqlite) => "id integer PRIMARY KEY AUTOINCREMENT",
            (Key::Always, Engine::Sqlite) => "id integer PRIMARY KEY",
            (Key::Text, _) => "id varchar(40) PRIMARY KEY",
            (Key::Composite, _) => "id integer NOT NULL",
        };
        let mut columns = vec![id.to_owned(), "n integer".to_owned(), "word varchar(60)".to_owned()];
        if key == Key::Composite {
            columns[1] = "n integer NOT NULL".to_owned();
            columns.push("PRIMARY KEY (id, n)".to_owned());
        }
        if form == Form::Plain && rng.chance(30) {
            let stored = if engine == Engine::Postgres || rng.chance(50) { "STORED" } else { "VIRTUAL" };
            columns.insert(3, format!("twice integer GENERATED ALWAYS AS (n * 2) {stored}"));
        }
        self.tables.push(Table { name: name.clone(), key, form, refers: Vec::new() });
        if form == Form::Plain || (form == Form::Odd && engine == Engine::Postgres) {
            for _ in 0..rng.below(3) {
                self.reference(rng, number, &mut columns, later);
            }
        }
        let tail = match (form, engine) {
            (Form::Partitioned, Engine::Postgres) => " PARTITION BY RANGE (n)".to_owned(),
            (Form::Partitioned, _) => {
                " PARTITION BY RANGE (n) (PARTITION low VALUES LESS THAN (50), PARTITION high VALUES LESS THAN MAXVALUE)"
                    .to_owned()
            }
            (Form::Odd, Engine::MySql) => " ENGINE=MyISAM".to_owned(),
            (Form::Odd, Engine::Sqlite) => " WITHOUT ROWID".to_owned(),
            (Form::Heir, _) => format!(" INHERITS ({})", self.tables[number - 1].name),
            _ => String::new(),
        };
        if form == Form::Heir {
            columns = vec!["more integer".to_owned()];
        }
        let unlogged = if form == Form::Odd && engine == Engine::Postgres { "UNLOGGED " } else { "" };
        let _ = writeln!(self.sql, "CREATE {unlogged}TABLE {name} ({}){tail};", columns.join(", "));
        if form == Form::Partitioned && engine == Engine::Postgres {
            for (suffix, range) in [("low", "FROM (MINVALUE) TO (50)"), ("high", "FROM (50) TO (MAXVALUE)")] {
                let _ = writeln!(
                    self.sql,
                    "CREATE TABLE \"{raw} {suffix}\" PARTITION OF {name} FOR VALUES {range};"
                );
            }
        }
        let columns = match engine {
            Engine::Postgres => "x::text",
            Engine::MySql => {
                "CONCAT_WS('|', COALESCE(id, 'NULL'), COALESCE(n, 'NULL'), COALESCE(word, 'NULL'))"
            }
            Engine::Sqlite => "quote(id) || '|' || quote(n) || '|' || quote(word)",
        };
        self.looks.push(format!("SELECT {columns} AS v FROM {name} x ORDER BY 1"));
        for column in 0..self.tables[number].refers.len() {
            let text = if engine == Engine::MySql { "char" } else { "text" };
            self.looks.push(format!("SELECT CAST(r{column} AS {text}) AS v FROM {name} ORDER BY 1"));
        }
    }

    fn form(&self, rng: &mut Rng) -> Form {
        let inherits = self.engine == Engine::Postgres
            && self.tables.last().is_some_and(|table| table.form != Form::Partitioned);
        match rng.below(8) {
            0 if self.engine != Engine::Sqlite => Form::Partitioned,
            1 => Form::Odd,
            2 if inherits => Form::Heir,
            _ => Form::Plain,
        }
    }

    /// A column that refers to some table so far, the last one included: one with a number for its key.
    fn reference(&mut self, rng: &mut Rng, number: usize, columns: &mut Vec<String>, later: &mut String) {
        let engine = self.engine;
        let numbered: Vec<usize> = (0..=number).filter(|at| self.tables[*at].is_numbered(engine)).collect();
        if numbered.is_empty() {
            return;
        }
        let to = numbered[rng.below(numbered.len())];
        let rule = ["CASCADE", "SET NULL", "NO ACTION", "CASCADE ON UPDATE CASCADE"][rng.below(4)];
        let defer =
            if engine == Engine::MySql || rng.chance(60) { "" } else { " DEFERRABLE INITIALLY DEFERRED" };
        let (name, target) = (self.tables[number].name.clone(), self.tables[to].name.clone());
        let column = format!("r{}", self.tables[number].refers.len());
        self.tables[number].refers.push(to);
        columns.insert(3, format!("{column} integer"));
        let key = format!("FOREIGN KEY ({column}) REFERENCES {target} (id) ON DELETE {rule}{defer}");
        if engine == Engine::Sqlite {
            columns.push(key);
            return;
        }
        let _ = writeln!(later, "ALTER TABLE {name} ADD {key};");
        // And back: now they refer to each other.
        if to != number && self.tables[number].is_numbered(engine) && rng.chance(30) {
            let back = format!("back{number}_{column}");
            let _ = writeln!(
                later,
                "ALTER TABLE {target} ADD {back} integer;\n\
                 ALTER TABLE {target} ADD FOREIGN KEY ({back}) REFERENCES {name} (id) ON DELETE CASCADE;"
            );
        }
    }

    fn seeds(&mut self, rng: &mut Rng) {
        for number in 0..self.tables.len() {
            if rng.chance(40) {
                continue;
            }
            for row in 0..1 + rng.below(6) {
                let table = &self.tables[number];
                let refers: Vec<_> = (0..table.refers.len()).map(|at| format!(", r{at}")).collect();
                let nulls = ", NULL".repeat(refers.len());
                let statement = if matches!(table.key, Key::Given | Key::Always) {
                    format!(
                        "INSERT INTO {} (n, word{}) VALUES ({}, 'seed {row}'{nulls});\n",
                        table.name,
                        refers.concat(),
                        rng.below(100)
                    )
                } else {
                    format!(
                        "INSERT INTO {} (id, n, word{}) VALUES ('{row}', {}, 'it''s ünï {row}'{nulls});\n",
                        table.name,
                        refers.concat(),
                        rng.below(100)
                    )
                };
                self.sql.push_str(&statement);
            }
            // Rows of the setup that hang on rows of the setup.
            for (at, to) in self.tables[number].refers.clone().into_iter().enumerate() {
                if rng.chance(70) {
                    let (name, to) = (&self.tables[number].name, &self.tables[to].name);
                    // MySQL does not read from the table that it changes, unless through another one.
                    let only = if self.engine == Engine::Postgres { "ONLY " } else { "" };
                    let first = format!("SELECT m FROM (SELECT MIN(id) AS m FROM {only}{to}) x");
                    let _ = writeln!(self.sql, "UPDATE {name} SET r{at} = ({first});");
                }
            }
        }
    }

    /// Views, triggers, row security, and what they show.
    fn extras(&mut self, rng: &mut Rng) {
        let engine = self.engine;
        let table = self.tables[rng.below(self.tables.len())].name.clone();
        if rng.chance(50) {
            let _ = writeln!(self.sql, "CREATE VIEW a_view AS SELECT n, word FROM {table};");
        }
        if engine == Engine::Postgres && rng.chance(50) {
            let _ = writeln!(self.sql, "CREATE MATERIALIZED VIEW a_copy AS SELECT n, word FROM {table};");
            self.looks.push("SELECT x::text AS v FROM a_copy x ORDER BY 1".to_owned());
        }
        if engine == Engine::Postgres && rng.chance(40) {
            let _ = writeln!(
                self.sql,
                "ALTER TABLE {table} ENABLE ROW LEVEL SECURITY;\nALTER TABLE {table} FORCE ROW LEVEL SECURITY;\n\
                 CREATE POLICY small ON {table} USING (n < 1000);"
            );
        }
        if rng.chance(60) {
            let text = if engine == Engine::MySql { "varchar(60)" } else { "text" };
            let _ = writeln!(self.sql, "CREATE TABLE noted (what {text});");
            self.looks.push("SELECT what AS v FROM noted ORDER BY 1".to_owned());
            let table = self.tables[rng.below(self.tables.len())].name.clone();
            let event = ["INSERT", "DELETE", "UPDATE"][rng.below(3)];
            let _ = match engine {
                Engine::Postgres => writeln!(
                    self.sql,
                    "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO noted VALUES ('{event}'); \
                     RETURN NULL; END $$;\n\
                     CREATE TRIGGER notes AFTER {event} ON {table} FOR EACH ROW EXECUTE FUNCTION note();"
                ),
                Engine::MySql => writeln!(
                    self.sql,
                    "CREATE TRIGGER notes AFTER {event} ON {table} FOR EACH ROW INSERT INTO noted VALUES ('{event}');"
                ),
                Engine::Sqlite => writeln!(
                    self.sql,
                    "CREATE TRIGGER notes AFTER {event} ON {table} BEGIN INSERT INTO noted VALUES ('{event}'); END;"
                ),
            };
        }
        self.looks.push(match engine {
            Engine::Postgres => {
                "SELECT format('%s %s %s', c.relname, c.relkind, string_agg(a.attname || a.atttypid, ',' ORDER BY a.attnum)) AS v \
                 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
                 LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND NOT a.attisdropped \
                 WHERE n.nspname IN (current_schema(), 'Second One') GROUP BY c.oid ORDER BY 1"
                    .to_owned()
            }
            Engine::MySql => {
                "SELECT CONCAT_WS(' ', TABLE_NAME, COLUMN_NAME, COLUMN_TYPE, IS_NULLABLE, COLUMN_KEY) AS v \
                 FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = DATABASE() ORDER BY 1"
                    .to_owned()
            }
            Engine::Sqlite => "SELECT name || ' ' || coalesce(sql, '') AS v FROM sqlite_master ORDER BY 1".to_owned(),
        });
        match engine {
            Engine::Postgres => self.looks.push(
                // Not those of other tests' schemas, which stand in the same database.
                "SELECT format('%s %s', sequencename, last_value) AS v FROM pg_sequences \
                 WHERE schemaname IN (current_schema(), 'Second One') ORDER BY 1"
                    .to_owned(),
            ),
            Engine::Sqlite if self.sql.contains("AUTOINCREMENT") => {
                self.looks.push("SELECT name || seq AS v FROM sqlite_sequence ORDER BY 1".to_owned());
            }
            _ => {}
        }
    }
}
