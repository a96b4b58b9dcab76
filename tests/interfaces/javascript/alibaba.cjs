// Call Alibaba Cloud's SDK as it is. A line of JSON for each call comes in, until the input ends:
// {"action", "input"}. A line goes out for each: {"answer"}, or {"error"} as the SDK throws it.
const readline = require("node:readline");
const sdk = require("@alicloud/kms20160120");
const { Config } = require("@alicloud/rpc-client");

const [endpoint, regionId] = process.argv.slice(2);
const client = new sdk.default(new Config({
  accessKeyId: process.env.ALIBABA_CLOUD_ACCESS_KEY_ID,
  accessKeySecret: process.env.ALIBABA_CLOUD_ACCESS_KEY_SECRET,
  endpoint, regionId, protocol: "http", type: "access_key",
}));

async function answered({ action, input }) {
  const call = action[0].toLowerCase() + action.slice(1);
  const request = new sdk[`${action}Request`](input);
  return client[call](request);
}

async function main() {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    let said;
    try {
      said = { answer: await answered(JSON.parse(line)) };
    } catch (error) {
      said = { error: { code: error.code, message: error.message } };
    }
    process.stdout.write(JSON.stringify(said) + "\n");
  }
}

main();
