// node client.js <port> <token> <CA file or "">: every way node-postgres talks, as one JSON object.
const fs = require("fs");
const { Client, Pool, types } = require("pg");
const Cursor = require("pg-cursor");

types.setTypeParser(1082, (text) => text); // date: as PostgreSQL writes it
const [port, token, ca] = process.argv.slice(2);
const settings = {
  host: "127.0.0.1", port: Number(port), user: "claude", password: token, database: "shop",
  ssl: ca ? { ca: fs.readFileSync(ca, "utf8"), servername: "localhost" } : false,
};
const columns = "id, name, city, email, ssn, phone, birth_date";
const all = `SELECT ${columns} FROM customers ORDER BY id LIMIT 5`;
const some = `SELECT ${columns} FROM customers WHERE id <= $1 ORDER BY id`;
const computed = `SELECT id, upper(email), right(ssn, 4), coalesce(phone, '-'), birth_date + 1
  FROM customers WHERE email LIKE '_***@example.%' AND birth_date <= '2100-01-01' ORDER BY id LIMIT 5`;

async function main() {
  const answers = {};
  const client = new Client(settings);
  await client.connect();
  answers.notices = [];
  client.on("notice", (notice) => answers.notices.push(notice.message));
  const rows = async (query) => (await client.query({ rowMode: "array", ...query })).rows;
  answers.simple = await rows({ text: all });
  answers.extended = await rows({ text: some, values: [5] });
  answers.named = await rows({ text: some, values: [5], name: "people" });
  answers.again = await rows({ text: some, values: [5], name: "people" });
  answers.computed = await rows({ text: computed });
  answers.computed_with_values = await rows({ text: computed.replace("LIMIT 5", "LIMIT $1"), values: [5], name: "computed" });
  const cursor = client.query(new Cursor(all, [], { rowMode: "array" }));
  answers.cursor = [...(await cursor.read(2)), ...(await cursor.read(10))];
  await cursor.close();
  try {
    await client.query("UPDATE orders SET status = 'cancelled'");
  } catch (error) {
    const { code, severity, message, detail, hint } = error;
    answers.refusal = { code, severity, message, detail, hint };
  }
  answers.after = await rows({ text: "SELECT 1" });
  answers.values = await rows({ text: "SELECT name, id FROM customers WHERE name = $1 AND id = ANY($2::int[])", values: ["Grace Chen", [1, 2, 3]] });
  await client.query("BEGIN");
  await client.query("INSERT INTO products (id, sku, name, price) VALUES ($1, $2, $3, $4)", [9500, "NODE", "x", "1.5"]);
  await client.query("ROLLBACK");
  answers.rolled_back = await rows({ text: "SELECT count(*) FROM products WHERE sku = 'NODE'" });
  await client.end();
  const pool = new Pool({ ...settings, max: 4 });
  const numbers = [...Array(20).keys()];
  answers.pool = (await Promise.all(numbers.map((n) => pool.query("SELECT $1::int AS n", [n])))).map((r) => r.rows[0].n);
  await pool.end();
  console.log(JSON.stringify(answers));
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
