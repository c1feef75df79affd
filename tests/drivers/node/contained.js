// node contained.js <port> <token> <way> <read> <write>: reads, then writes in the same session; how many
// rows were read, and the error of the write.
const { Client } = require("pg");
const Cursor = require("pg-cursor");

const [port, token, way, read, write] = process.argv.slice(2);
const settings = { host: "127.0.0.1", port: Number(port), user: "claude", password: token, database: "helpdesk", ssl: false };
const queries = {
  simple: { text: read },
  values: { text: read, values: [1] },
  prepared: { text: read, values: [1], name: "read" },
};

async function rowsOf(client) {
  if (way !== "cursor") return (await client.query(queries[way])).rows;
  await client.query("BEGIN");
  const cursor = client.query(new Cursor(read));
  const rows = await cursor.read(10);
  await cursor.close();
  await client.query("COMMIT");
  return rows;
}

async function main() {
  const client = new Client(settings);
  await client.connect();
  const answer = { rows: (await rowsOf(client)).length, error: "" };
  try {
    await client.query(write);
  } catch (error) {
    answer.error = error.message;
  }
  await client.end();
  console.log(JSON.stringify(answer));
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
