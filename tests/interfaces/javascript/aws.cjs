// Call AWS's SDK as it is. A line of JSON for each call comes in, until the input ends: {"operation", "input"}.
// A line goes out for each: {"answer"}, or {"error"} as the SDK throws it. Bytes are {"bytes": Base64}.
const readline = require("node:readline");
const sdk = require("@aws-sdk/client-secrets-manager");

const [endpoint, region, attempts] = process.argv.slice(2);
const client = new sdk.SecretsManagerClient({ endpoint, region, maxAttempts: Number(attempts) });

function written(key, value) {
  // Buffer's own toJSON comes before this: of an Uint8Array there is none.
  return value instanceof Uint8Array ? { bytes: Buffer.from(value).toString("base64") } : value;
}

function read(key, value) {
  return value && value.bytes ? new Uint8Array(Buffer.from(value.bytes, "base64")) : value;
}

async function answered({ operation, input }) {
  if (operation === "paginateListSecrets") {
    const pages = [];
    for await (const page of sdk.paginateListSecrets({ client, pageSize: 2 }, input)) pages.push(page.SecretList);
    return { pages };
  }
  const { $metadata, ...answer } = await client.send(new sdk[`${operation}Command`](input));
  return answer;
}

async function main() {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    let said;
    try {
      said = { answer: await answered(JSON.parse(line, read)) };
    } catch (error) {
      const isTyped = typeof sdk[error.name] === "function" && error instanceof sdk[error.name];
      said = { error: { name: error.name, message: error.message, status: error.$metadata?.httpStatusCode, isTyped } };
    }
    process.stdout.write(JSON.stringify(said, written) + "\n");
  }
}

main();
