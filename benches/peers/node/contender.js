// pg-transactional-tests as a contender: for each line that it reads it runs a test, and it writes how
// long that took in nanoseconds: until the test may start, opening the handle, the body, the end.

const readline = require('node:readline');
const { testTransaction } = require('pg-transactional-tests');
const { Pool } = require('pg');

const task = JSON.parse(process.argv[2]);
const url = new URL(task.url);
const pool = new Pool({
  host: url.searchParams.get('host') ?? url.hostname,
  port: url.port ? Number(url.port) : 5432,
  user: decodeURIComponent(url.username),
  password: decodeURIComponent(url.password),
  database: url.pathname.slice(1),
  // Other contenders take their time between two tests.
  idleTimeoutMillis: 0,
});
const now = process.hrtime.bigint;

async function test() {
  const start = now();
  await testTransaction.start();
  const begun = now();
  for (const sql of task.body) {
    const { rowCount } = await pool.query(sql);
    if (rowCount !== 5) throw new Error('the place was not clean');
  }
  const ended = now();
  await testTransaction.rollback();
  console.log(`${begun - start} 0 ${ended - begun} ${now() - ended}`);
}

async function main() {
  await testTransaction.start();
  await pool.query(task.first);
  console.log('ready');
  for await (const _ of readline.createInterface({ input: process.stdin })) await test();
  await testTransaction.close();
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
