// Inserts a file of events, one JSON object a line, into a table of ClickHouse's
// engine with one thread, and prints what came of it. Without a file it only
// makes the table, so that the cost of starting can be taken off.
const { Session } = require("chdb");

const [db, file] = process.argv.slice(2);
const session = new Session(db);
session.query(`CREATE DATABASE IF NOT EXISTS b ENGINE = Atomic`);
session.query(`CREATE TABLE b.events (
  user_id FixedString(32), app_version LowCardinality(String), device_id LowCardinality(String),
  event_type LowCardinality(String), user_properties Tuple(sgx_mode LowCardinality(String)),
  time UInt64, insert_id String, event_properties Tuple(uptime UInt64, model_size Nullable(UInt64))
) ENGINE = MergeTree ORDER BY (event_type, time)`);
const start = process.hrtime.bigint();
if (file) {
  session.query(`INSERT INTO b.events SELECT * FROM file('${file}', 'JSONEachRow',
    'user_id FixedString(32), app_version LowCardinality(String), device_id LowCardinality(String),
     event_type LowCardinality(String), user_properties Tuple(sgx_mode LowCardinality(String)),
     time UInt64, insert_id String, event_properties Tuple(uptime UInt64, model_size Nullable(UInt64))')
    SETTINGS max_threads = 1, max_insert_threads = 1, max_parsing_threads = 1`);
}
const seconds = Number(process.hrtime.bigint() - start) / 1e9;
const one = (sql) => session.query(sql, "TabSeparated").trim();
console.log(JSON.stringify({
  Version: one("SELECT version()"),
  Rows: Number(one("SELECT count() FROM b.events")),
  Bytes: Number(one("SELECT sum(bytes_on_disk) FROM system.parts WHERE active AND table = 'events'") || 0),
  Seconds: seconds,
}));
session.close();
